#include <exception>
#include <fstream>
#include <iostream>
#include <string>

#include "hphp/runtime/script.h"
#include "hphp/runtime/version.h"

int main(int argc, char** argv) {
  const std::string argument = argc == 2 ? argv[1] : "";
  if (argument == "--version") {
    std::cout << "HipHop VM " HHVM_VERSION " (rel)\n";
    return 0;
  }
  if (argument.empty()) {
    std::cerr << "usage: hhvm --version | hhvm FILE\n";
    return 2;
  }
  std::ifstream script(argument);
  if (!script) {
    std::cerr << "hhvm: cannot open " << argument << '\n';
    return 1;
  }
  try {
    HPHP::run(script, std::cout);
  } catch (const std::exception& error) {
    std::cerr << "hhvm: " << argument << ": " << error.what() << '\n';
    return 1;
  }
}
