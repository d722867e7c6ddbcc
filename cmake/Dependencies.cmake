# Libraries, all from the distribution (Debian 12 and 13).

find_package(Threads REQUIRED)
find_package(OpenSSL 3.0 REQUIRED)
find_package(Boost 1.81 REQUIRED COMPONENTS json url)
find_package(CURL REQUIRED)
find_package(yaml-cpp REQUIRED)
find_package(prometheus-cpp CONFIG REQUIRED)
find_package(pugixml CONFIG REQUIRED)
find_package(SQLite3 REQUIRED)
find_package(CLI11 CONFIG REQUIRED)
find_package(fmt CONFIG REQUIRED)
find_package(PkgConfig REQUIRED)
pkg_check_modules(RE2 REQUIRED IMPORTED_TARGET re2)

add_library(lbd_yaml INTERFACE)
if(TARGET yaml-cpp::yaml-cpp)
  target_link_libraries(lbd_yaml INTERFACE yaml-cpp::yaml-cpp)
else()
  target_link_libraries(lbd_yaml INTERFACE yaml-cpp)
endif()

# Asio compiled once (lbd/net/asio_impl.cc), threads on; every user links this.
add_library(lbd_asio INTERFACE)
target_link_libraries(lbd_asio INTERFACE Boost::headers Threads::Threads)
target_compile_definitions(lbd_asio INTERFACE
  BOOST_ASIO_SEPARATE_COMPILATION BOOST_ASIO_NO_DEPRECATED
  BOOST_ASIO_RECYCLING_ALLOCATOR_CACHE_SIZE=16)
if(LBD_SANITIZE MATCHES "thread")
  # ThreadSanitizer does not know fences (g++ refuses them); the scheduler's mutex orders what we hand over.
  target_compile_definitions(lbd_asio INTERFACE BOOST_ASIO_DISABLE_FENCED_BLOCK)
endif()

# nghttp2 comes with pkg-config only.
pkg_check_modules(NGHTTP2 REQUIRED IMPORTED_TARGET libnghttp2)
add_library(lbd_nghttp2 INTERFACE)
target_link_libraries(lbd_nghttp2 INTERFACE PkgConfig::NGHTTP2)

# Content codings.
find_package(ZLIB REQUIRED)
pkg_check_modules(BROTLI REQUIRED IMPORTED_TARGET libbrotlienc)
pkg_check_modules(BROTLI_DECODER REQUIRED IMPORTED_TARGET libbrotlidec)  # of tests
pkg_check_modules(ZSTD REQUIRED IMPORTED_TARGET libzstd)
add_library(lbd_codings INTERFACE)
target_link_libraries(lbd_codings INTERFACE ZLIB::ZLIB PkgConfig::BROTLI PkgConfig::ZSTD)

# Names of targets.
pkg_check_modules(CARES REQUIRED IMPORTED_TARGET libcares)

# llhttp: Debian 13 packages a library; Debian 12 ships the C sources inside node-llhttp.
find_path(LLHTTP_INCLUDE llhttp.h PATHS /usr/share/include/llhttp /usr/include)
find_library(LLHTTP_LIBRARY NAMES llhttp)
if(LLHTTP_LIBRARY AND LLHTTP_INCLUDE)
  add_library(lbd_llhttp INTERFACE)
  target_include_directories(lbd_llhttp SYSTEM INTERFACE ${LLHTTP_INCLUDE})
  target_link_libraries(lbd_llhttp INTERFACE ${LLHTTP_LIBRARY})
elseif(EXISTS /usr/share/llhttp/llhttp.c)
  file(GLOB llhttp_sources /usr/share/llhttp/*.c)
  add_library(lbd_llhttp STATIC ${llhttp_sources})
  target_include_directories(lbd_llhttp SYSTEM PUBLIC ${LLHTTP_INCLUDE})
  target_compile_options(lbd_llhttp PRIVATE -O2)
  if(LBD_FUZZ)
    target_compile_options(lbd_llhttp PRIVATE -fsanitize=fuzzer-no-link)
  endif()
else()
  message(FATAL_ERROR "llhttp not found: run ./dev setup")
endif()
