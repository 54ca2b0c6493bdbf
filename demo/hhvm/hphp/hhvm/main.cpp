#include <exception>
#include <fstream>
#include <iostream>
#include <stdexcept>
#include <string>
#include <vector>

#include "hphp/runtime/script.h"
#include "hphp/runtime/settings.h"
#include "hphp/runtime/version.h"
#include "hphp/server/fastcgi.h"

namespace {

constexpr auto usage =
  "usage: hhvm --version | hhvm [--lint] FILE\n"
  "       hhvm --mode server [--config FILE]... [-d NAME=VALUE]...\n";

struct WrongUsage : std::exception {};

struct CommandLine {
  bool version = false;
  bool lint = false;
  bool server = false;
  std::string file;
  HPHP::Settings settings;
};

CommandLine parse(const std::vector<std::string>& arguments) {
  CommandLine result;
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const auto& argument = arguments[i];
    const auto value = [&] {
      if (++i == arguments.size()) throw WrongUsage();
      return arguments[i];
    };
    if (argument == "--version") {
      result.version = true;
    } else if (argument == "--lint") {
      result.lint = true;
    } else if (argument == "--mode" || argument == "-m") {
      result.server = value() == "server";
    } else if (argument == "--config" || argument == "-c") {
      result.settings.read(value());
    } else if (argument == "--define" || argument == "-d") {
      result.settings.define(value());
    } else if (result.file.empty() && argument[0] != '-') {
      result.file = argument;
    } else {
      throw WrongUsage();
    }
  }
  return result;
}

void run(const std::string& file, std::ostream& output) {
  std::ifstream script(file);
  if (!script) throw std::runtime_error("cannot open it");
  HPHP::run(script, output);
}

}

int main(int argc, char** argv) {
  std::string about;
  try {
    const auto command = parse({argv + 1, argv + argc});
    if (command.version) {
      std::cout << "HipHop VM " HHVM_VERSION " (rel)\n";
    } else if (command.server) {
      HPHP::serve(command.settings);
    } else if (command.file.empty()) {
      throw WrongUsage();
    } else {
      about = command.file + ": ";
      std::ofstream nothing;
      run(command.file, command.lint ? nothing : std::cout);
    }
  } catch (const WrongUsage&) {
    std::cerr << usage;
    return 2;
  } catch (const std::exception& error) {
    std::cerr << "hhvm: " << about << error.what() << '\n';
    return 1;
  }
}
