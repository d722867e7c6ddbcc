#include "lbd/cli/cli.h"
#include "lbd/daemon.h"

int main(int argc, char** argv) {
  return lbd::cli::main(argc, argv, [](const std::string& config_path) {
    return lbd::run_daemon({.config_path = config_path});
  });
}
