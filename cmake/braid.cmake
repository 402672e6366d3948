# One CMake target per folder of src/. A folder's CMakeLists.txt calls braid_library once.
#
#   braid_library(codec FLOOR 1 SOURCES a.cpp b.cpp DEPENDS base)
#
# A folder without SOURCES is header-only. FLOOR is recorded as a target property, and
# tools/check_floors.py holds the #include lines against it.
include_guard(GLOBAL)

function(braid_library name)
  cmake_parse_arguments(arg "" "FLOOR" "SOURCES;DEPENDS;LINKS" ${ARGN})
  if(NOT DEFINED arg_FLOOR)
    message(FATAL_ERROR "braid_library(${name}): FLOOR is missing")
  endif()
  set(scope PUBLIC)
  if(arg_SOURCES)
    add_library(braid_${name} STATIC ${arg_SOURCES})
    set_target_properties(braid_${name} PROPERTIES POSITION_INDEPENDENT_CODE ON)
    target_link_libraries(braid_${name} PRIVATE braid_warnings)
  else()
    add_library(braid_${name} INTERFACE)
    set(scope INTERFACE)
  endif()
  target_include_directories(braid_${name} ${scope} ${PROJECT_SOURCE_DIR}/include
                                                    ${PROJECT_SOURCE_DIR}/src)
  foreach(dependency IN LISTS arg_DEPENDS)
    target_link_libraries(braid_${name} ${scope} braid_${dependency})
  endforeach()
  target_link_libraries(braid_${name} ${scope} ${arg_LINKS})
  target_compile_features(braid_${name} ${scope} cxx_std_20)
  set_property(TARGET braid_${name} PROPERTY BRAID_FLOOR ${arg_FLOOR})
  add_library(braid::${name} ALIAS braid_${name})
endfunction()

# A test executable, registered with CTest under its own name.
#
#   braid_test(unit_codec SOURCES fp8_test.cpp DEPENDS codec [LABELS unit] [TIMEOUT 120])
function(braid_test name)
  cmake_parse_arguments(arg "" "TIMEOUT" "SOURCES;DEPENDS;LINKS;LABELS" ${ARGN})
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 300)
  endif()
  add_executable(${name} ${arg_SOURCES})
  foreach(dependency IN LISTS arg_DEPENDS)
    target_link_libraries(${name} PRIVATE braid_${dependency})
  endforeach()
  target_link_libraries(${name} PRIVATE ${arg_LINKS} GTest::gtest_main braid_warnings)
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR}/tests)
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES TIMEOUT ${arg_TIMEOUT} LABELS "${arg_LABELS}")
endfunction()
