# One CMake target per folder of src/. A folder's CMakeLists.txt calls braid_library once.
#
#   braid_library(codec FLOOR 1 SOURCES a.cpp b.cpp DEPENDS base)
#
# A folder without SOURCES is header-only. FLOOR is recorded as a target property; DEPENDS are
# held against it here, the #include lines by tools/check_floors.py.
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
    target_link_libraries(braid_${name} PRIVATE $<BUILD_INTERFACE:braid_warnings>)
  else()
    add_library(braid_${name} INTERFACE)
    set(scope INTERFACE)
  endif()
  target_include_directories(braid_${name} ${scope}
    $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include> $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/src>
    $<INSTALL_INTERFACE:include>)
  foreach(dependency IN LISTS arg_DEPENDS)
    if(TARGET braid_${dependency})
      get_target_property(floor braid_${dependency} BRAID_FLOOR)
      if(NOT floor LESS arg_FLOOR)
        message(FATAL_ERROR "braid_library(${name}): it is on floor ${arg_FLOOR} and depends on "
                            "${dependency}, on floor ${floor}; only lower floors are allowed")
      endif()
    endif()
    target_link_libraries(braid_${name} ${scope} braid_${dependency})
  endforeach()
  target_link_libraries(braid_${name} ${scope} ${arg_LINKS})
  target_compile_features(braid_${name} ${scope} cxx_std_20)
  set_property(TARGET braid_${name} PROPERTY BRAID_FLOOR ${arg_FLOOR})
  add_library(braid::${name} ALIAS braid_${name})
  set_property(GLOBAL APPEND PROPERTY BRAID_LIBRARIES braid_${name})
endfunction()

# A test executable, registered with CTest under its own name.
#
#   braid_test(unit_codec SOURCES fp8_test.cpp DEPENDS codec [LABELS release] [TIMEOUT 120])
#
# The sanitizers run every test but those labeled `release`. TIMEOUT is in seconds of a release
# build; a sanitizer may take four times as long.
function(braid_test name)
  cmake_parse_arguments(arg "" "TIMEOUT" "SOURCES;DEPENDS;LINKS;LABELS" ${ARGN})
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 300)
  endif()
  if(BRAID_SANITIZER)
    math(EXPR arg_TIMEOUT "${arg_TIMEOUT} * 4")
  endif()
  add_executable(${name} ${arg_SOURCES})
  foreach(dependency IN LISTS arg_DEPENDS)
    target_link_libraries(${name} PRIVATE braid_${dependency})
  endforeach()
  target_link_libraries(${name} PRIVATE ${arg_LINKS} GTest::gtest_main braid_warnings)
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR}/tests)
  if(BRAID_SANITIZER AND "release" IN_LIST arg_LABELS)
    set_target_properties(${name} PROPERTIES EXCLUDE_FROM_ALL ON)
  endif()
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES TIMEOUT ${arg_TIMEOUT} LABELS "${arg_LABELS}")
endfunction()

# The targets under a source folder that have a CUDA source, or that tests/gpu builds.
function(braid_targets_with_cuda folder result)
  set(found)
  get_property(targets DIRECTORY ${folder} PROPERTY BUILDSYSTEM_TARGETS)
  foreach(target IN LISTS targets)
    get_target_property(sources ${target} SOURCES)
    if(sources MATCHES "\\.cu(;|$)" OR folder MATCHES "/tests/gpu$")
      list(APPEND found ${target})
    endif()
  endforeach()
  get_property(subfolders DIRECTORY ${folder} PROPERTY SUBDIRECTORIES)
  foreach(subfolder IN LISTS subfolders)
    braid_targets_with_cuda(${subfolder} more)
    list(APPEND found ${more})
  endforeach()
  set(${result} ${found} PARENT_SCOPE)
endfunction()
