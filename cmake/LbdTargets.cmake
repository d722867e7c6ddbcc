# Flags every target of the project shares, and the two functions that declare targets: a folder is a library.

add_library(lbd_flags INTERFACE)
target_include_directories(lbd_flags INTERFACE ${PROJECT_SOURCE_DIR})
target_compile_definitions(lbd_flags INTERFACE LBD_VERSION="${PROJECT_VERSION}")
target_compile_options(lbd_flags INTERFACE
  -Wall -Wextra -Wno-missing-field-initializers -Wpedantic -Wconversion -Wshadow -Wnon-virtual-dtor -fno-omit-frame-pointer
  -ffile-prefix-map=${PROJECT_SOURCE_DIR}=.)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # g++ 12 reports maybe-uninitialized inside coroutine frames that the language has initialised.
  target_compile_options(lbd_flags INTERFACE -Wno-maybe-uninitialized)
endif()
if(LBD_WERROR)
  target_compile_options(lbd_flags INTERFACE -Werror)
endif()
if(LBD_SANITIZE)
  target_compile_options(lbd_flags INTERFACE -fsanitize=${LBD_SANITIZE} -fno-sanitize-recover=all)
  target_link_options(lbd_flags INTERFACE -fsanitize=${LBD_SANITIZE})
  if(CMAKE_CXX_COMPILER_ID MATCHES "Clang")
    target_compile_options(lbd_flags INTERFACE -fno-sanitize=function)
  endif()
endif()
if(LBD_FUZZ)
  target_compile_options(lbd_flags INTERFACE -fsanitize=fuzzer-no-link)  # coverage, without which libFuzzer is blind
endif()

if(LBD_FUZZ)
  target_compile_options(lbd_flags INTERFACE -fsanitize=fuzzer-no-link)  # coverage, without which libFuzzer is blind
endif()

# lbd_library(NAME DEPS...): every .cc of the current folder (not below it) as one static library.
function(lbd_library name)
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.cc)
  if(sources)
    add_library(${name} STATIC ${sources})
    target_link_libraries(${name} PUBLIC lbd_flags ${ARGN})
  else()
    add_library(${name} INTERFACE)
    target_link_libraries(${name} INTERFACE lbd_flags ${ARGN})
  endif()
endfunction()
