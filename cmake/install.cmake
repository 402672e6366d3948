# braid::braid, what a user links, in this tree and after `cmake --install`:
#
#   find_package(braid REQUIRED)
#   target_link_libraries(engine PRIVATE braid::braid)
if(NOT TARGET braid_runtime)
  return()
endif()
include(CMakePackageConfigHelpers)
include(GNUInstallDirs)

add_library(braid_umbrella INTERFACE)
set_target_properties(braid_umbrella PROPERTIES EXPORT_NAME braid)
target_link_libraries(braid_umbrella INTERFACE braid_runtime)
add_library(braid::braid ALIAS braid_umbrella)

# The runtime and everything below it, and the packages that these link.
function(braid_closure target libraries packages)
  get_property(all GLOBAL PROPERTY BRAID_LIBRARIES)
  get_target_property(type ${target} TYPE)
  if(type STREQUAL "INTERFACE_LIBRARY")
    get_target_property(links ${target} INTERFACE_LINK_LIBRARIES)
  else()
    get_target_property(links ${target} LINK_LIBRARIES)
  endif()
  list(APPEND ${libraries} ${target})
  foreach(link IN LISTS links)
    if(link IN_LIST all AND NOT link IN_LIST ${libraries})
      braid_closure(${link} ${libraries} ${packages})
    elseif(link MATCHES "^CUDA::")
      list(APPEND ${packages} CUDAToolkit)
    elseif(link MATCHES "^([A-Za-z0-9_]+)::")
      list(APPEND ${packages} ${CMAKE_MATCH_1})
    endif()
  endforeach()
  list(REMOVE_DUPLICATES ${packages})
  set(${libraries} ${${libraries}} PARENT_SCOPE)
  set(${packages} ${${packages}} PARENT_SCOPE)
endfunction()
set(installed)
set(BRAID_DEPENDENCIES)
braid_closure(braid_runtime installed BRAID_DEPENDENCIES)

install(TARGETS braid_umbrella ${installed} EXPORT braid-targets
        ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY include/braid DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
set(package_folder ${CMAKE_INSTALL_LIBDIR}/cmake/braid)
install(EXPORT braid-targets NAMESPACE braid:: DESTINATION ${package_folder})
configure_package_config_file(cmake/braid-config.cmake.in ${PROJECT_BINARY_DIR}/braid-config.cmake
                              INSTALL_DESTINATION ${package_folder})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/braid-config-version.cmake
                                 COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/braid-config.cmake
              ${PROJECT_BINARY_DIR}/braid-config-version.cmake
        DESTINATION ${package_folder})
if(TARGET braid_cli)
  install(TARGETS braid_cli RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()
