# hhvm_extension(NAME SOURCE...) builds NAME.so against the headers of this HHVM.
get_filename_component(HHVM_PREFIX "${CMAKE_CURRENT_LIST_DIR}/../../.." ABSOLUTE)

function(hhvm_extension name)
  add_library(${name} MODULE ${ARGN})
  set_target_properties(${name} PROPERTIES PREFIX "")
  target_include_directories(${name} PRIVATE "${HHVM_PREFIX}/include")
endfunction()
