// A FastCGI responder, see https://fastcgi-archives.github.io/FastCGI_Specification.html

#include "hphp/server/fastcgi.h"

#include <arpa/inet.h>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <functional>
#include <iostream>
#include <netinet/in.h>
#include <sstream>
#include <stdexcept>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>

#include "hphp/runtime/script.h"

namespace HPHP {

namespace {

enum Type : std::uint8_t { BeginRequest = 1, EndRequest = 3, Params = 4, Stdin = 5, Stdout = 6 };
constexpr std::uint8_t KeepConnection = 1;

struct Record {
  std::uint8_t type;
  std::uint16_t request;
  std::string content;
};

struct Closed : std::exception {};

std::string receive(int socket, std::size_t size) {
  std::string result(size, '\0');
  for (std::size_t had = 0; had < size;) {
    const auto got = recv(socket, &result[had], size - had, 0);
    if (got <= 0) throw Closed();
    had += got;
  }
  return result;
}

std::uint16_t number(const std::string& bytes, std::size_t at) {
  return std::uint8_t(bytes[at]) << 8 | std::uint8_t(bytes[at + 1]);
}

Record receiveRecord(int socket) {
  const auto header = receive(socket, 8);
  const auto content = receive(socket, number(header, 4));
  receive(socket, std::uint8_t(header[6]));
  return {std::uint8_t(header[1]), number(header, 2), content};
}

void send(int socket, std::uint8_t type, std::uint16_t request, const std::string& content) {
  const std::string header{
    1, char(type), char(request >> 8), char(request),
    char(content.size() >> 8), char(content.size()), 0, 0};
  const auto bytes = header + content;
  for (std::size_t had = 0; had < bytes.size();) {
    const auto sent = ::send(socket, &bytes[had], bytes.size() - had, MSG_NOSIGNAL);
    if (sent <= 0) throw Closed();
    had += sent;
  }
}

// The value of one parameter, or an empty string.
std::string parameter(const std::string& all, const std::string& wanted) {
  std::size_t at = 0;
  const auto length = [&]() -> std::size_t {
    if (at >= all.size()) throw Closed();
    if (!(all[at] & 0x80)) return std::uint8_t(all[at++]);
    if (at + 4 > all.size()) throw Closed();
    const std::size_t result = std::size_t(number(all, at) & 0x7fff) << 16 | number(all, at + 2);
    at += 4;
    return result;
  };
  while (at < all.size()) {
    const auto name = length();
    const auto value = length();
    if (name + value > all.size() - at) throw Closed();
    if (all.compare(at, name, wanted) == 0) return all.substr(at + name, value);
    at += name + value;
  }
  return "";
}

std::string answer(std::string file, const Settings& settings) {
  if (!file.empty() && file.back() == '/') {
    file += settings.get("hhvm.server.default_document", "index.php");
  }
  const std::string type = "Content-Type: text/html\r\n\r\n";
  std::ifstream script(file);
  if (!script) return "Status: 404 Not Found\r\n" + type + "Not Found\n";
  std::ostringstream page;
  try {
    run(script, page);
  } catch (const std::exception& error) {
    std::clog << file << ": " << error.what() << std::endl;
    return "Status: 500 Internal Server Error\r\n" + type;
  }
  return type + page.str();
}

void converse(int socket, const Settings& settings) {
  try {
    for (bool keep = true; keep;) {
      std::string parameters;
      for (auto record = receiveRecord(socket);; record = receiveRecord(socket)) {
        if (record.type == BeginRequest) keep = record.content.at(2) & KeepConnection;
        if (record.type == Params) parameters += record.content;
        if (record.type != Stdin || !record.content.empty()) continue;
        const auto page = answer(parameter(parameters, "SCRIPT_FILENAME"), settings);
        for (std::size_t at = 0; at < page.size(); at += 65535) {
          send(socket, Stdout, record.request, page.substr(at, 65535));
        }
        send(socket, Stdout, record.request, "");
        send(socket, EndRequest, record.request, std::string(8, '\0'));
        break;
      }
    }
  } catch (const Closed&) {
  } catch (const std::out_of_range&) {
    std::clog << "a request that is no FastCGI" << std::endl;
  }
  close(socket);
}

std::runtime_error cannot(const std::string& what) {
  return std::runtime_error("cannot " + what + ": " + std::strerror(errno));
}

}

void serve(const Settings& settings) {
  if (settings.get("hhvm.server.type", "fastcgi") != "fastcgi") {
    throw std::runtime_error("hhvm.server.type must be fastcgi");
  }
  const auto ip = settings.get("hhvm.server.ip", "0.0.0.0");
  const auto port = settings.get("hhvm.server.port", "9000");

  // For as long as the process lives.
  static std::ofstream log;
  const auto logFile = settings.get("hhvm.log.file", "");
  if (!logFile.empty() && settings.get("hhvm.log.use_log_file", "true") == "true") {
    log.open(logFile, std::ios::app);
    if (!log) throw cannot("write " + logFile);
    std::clog.rdbuf(log.rdbuf());
  }

  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(std::stoi(port));
  if (inet_pton(AF_INET, ip.c_str(), &address.sin_addr) != 1) {
    throw std::runtime_error("hhvm.server.ip is no address: " + ip);
  }
  const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int yes = 1;
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  if (bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 || listen(listener, 64) != 0) {
    throw cannot("listen on " + ip + ":" + port);
  }
  const auto pidFile = settings.get("pid", "");
  if (!pidFile.empty() && !(std::ofstream(pidFile) << getpid() << '\n')) throw cannot("write " + pidFile);
  std::clog << "listening on " << ip << ":" << port << std::endl;

  for (;;) {
    const int connection = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
    if (connection >= 0) std::thread(converse, connection, std::cref(settings)).detach();
  }
}

}
