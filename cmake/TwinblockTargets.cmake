# twinblock_library(NAME SOURCES ... PUBLIC deps... PRIVATE deps...): a room's static library.
# twinblock_test(NAME SOURCES ... LIBS ...): a GoogleTest binary, each case a CTest test.
include(GNUInstallDirs)
find_package(Threads REQUIRED)

set(TWINBLOCK_SANITIZE "" CACHE STRING "empty, address (ASan+UBSan) or thread")
option(TWINBLOCK_FUZZERS "build the libFuzzer targets (clang only)" OFF)

find_program(CCACHE_PROGRAM ccache)
if(CCACHE_PROGRAM AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER "${CCACHE_PROGRAM}")
endif()

add_library(twinblock_options INTERFACE)
target_compile_features(twinblock_options INTERFACE cxx_std_20)
target_include_directories(twinblock_options INTERFACE "${CMAKE_SOURCE_DIR}")
target_compile_options(twinblock_options INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wnon-virtual-dtor -Wold-style-cast -Woverloaded-virtual
  -Wswitch -Werror -fno-omit-frame-pointer)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # gcc 12 reports false positives of these inside libstdc++ at -O2.
  target_compile_options(twinblock_options INTERFACE -Wno-restrict -Wno-stringop-overflow -Wno-array-bounds
    -Wno-maybe-uninitialized)
endif()
if(TWINBLOCK_SANITIZE STREQUAL "address")
  target_compile_options(twinblock_options INTERFACE -fsanitize=address,undefined -fno-sanitize-recover=all)
  target_link_options(twinblock_options INTERFACE -fsanitize=address,undefined)
elseif(TWINBLOCK_SANITIZE STREQUAL "thread")
  target_compile_options(twinblock_options INTERFACE -fsanitize=thread)
  # Asio's fences do not exist for TSan; g++ says so in every file. The queues behind them are locked.
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    target_compile_options(twinblock_options INTERFACE -Wno-tsan)
  endif()
  target_link_options(twinblock_options INTERFACE -fsanitize=thread)
endif()

if(TWINBLOCK_FUZZERS)
  if(NOT CMAKE_CXX_COMPILER_ID MATCHES "Clang")
    message(FATAL_ERROR "TWINBLOCK_FUZZERS needs clang (preset debug)")
  endif()
  # Coverage feedback in every library; only the fuzzers themselves link libFuzzer's main().
  target_compile_options(twinblock_options INTERFACE -fsanitize=fuzzer-no-link)
endif()

function(twinblock_library name)
  cmake_parse_arguments(arg "" "" "SOURCES;PUBLIC;PRIVATE" ${ARGN})
  add_library(${name} STATIC ${arg_SOURCES})
  add_library(twinblock::${name} ALIAS ${name})
  target_link_libraries(${name} PUBLIC ${arg_PUBLIC} PRIVATE twinblock_options ${arg_PRIVATE})
  target_include_directories(${name} PUBLIC "${CMAKE_SOURCE_DIR}")
  set_property(GLOBAL APPEND PROPERTY TWINBLOCK_LIBRARIES ${name})  # tests/lint checks each one's symbols
endfunction()

function(twinblock_test name)
  cmake_parse_arguments(arg "" "" "SOURCES;LIBS" ${ARGN})
  find_package(GTest REQUIRED)
  include(GoogleTest)
  add_executable(${name} ${arg_SOURCES})
  target_link_libraries(${name} PRIVATE twinblock_options ${arg_LIBS} GTest::gtest_main GTest::gmock)
  target_compile_definitions(${name} PRIVATE TWINBLOCK_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
  gtest_discover_tests(${name} DISCOVERY_TIMEOUT 60 PROPERTIES LABELS unit TIMEOUT 120)
endfunction()
