# cpack -G DEB: one package for the distribution it is built on (./dev package).

# `cpack` packages what is built; it shall not build tests first.
set(CMAKE_SKIP_INSTALL_ALL_DEPENDENCY ON)

set(debian ${PROJECT_SOURCE_DIR}/systemd/debian)
install(FILES ${debian}/copyright DESTINATION ${CMAKE_INSTALL_DOCDIR})
foreach(pair "CHANGELOG.md;changelog.gz" "systemd/debian/changelog;changelog.Debian.gz")
  list(GET pair 0 from)
  list(GET pair 1 to)
  install(CODE "
    set(folder \"\$ENV{DESTDIR}\${CMAKE_INSTALL_PREFIX}/${CMAKE_INSTALL_DOCDIR}\")
    file(MAKE_DIRECTORY \"\${folder}\")
    execute_process(COMMAND gzip -9nc ${PROJECT_SOURCE_DIR}/${from}
      OUTPUT_FILE \"\${folder}/${to}\" COMMAND_ERROR_IS_FATAL ANY)")
endforeach()

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME lbd)
set(CPACK_PACKAGE_VENDOR "The lbd authors")
set(CPACK_PACKAGE_CONTACT "The lbd authors <maintainers@lbd.invalid>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "layer-7 load balancer and EC2 autoscaler in one daemon")
set(CPACK_PACKAGE_DESCRIPTION "Proxies HTTP requests over targets in several Availability Zones,
checks their health, and launches or terminates instances (EC2, or processes of
this host) with the load. Drains by exact in-flight count before it terminates,
and explains every decision.")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_INSTALL_CMAKE_PROJECTS "${CMAKE_BINARY_DIR};lbd;ALL;/")
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_RELEASE 1)
set(CPACK_DEBIAN_PACKAGE_SECTION net)
set(CPACK_DEBIAN_PACKAGE_PRIORITY optional)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_DEPENDS "init-system-helpers (>= 1.51)")
set(CPACK_DEBIAN_PACKAGE_RECOMMENDS "systemd, ca-certificates")
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION TRUE)
set(CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA
  ${debian}/conffiles ${debian}/postinst ${debian}/prerm ${debian}/postrm)
include(CPack)
