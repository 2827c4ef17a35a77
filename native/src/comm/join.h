// How the ranks of a job find rank 0: each connects, says who it is, and waits until rank 0 has all of them.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "connection.h"

namespace sralign::comm {

// What every rank says of itself.
struct Identity {
  int rank = 0, worldSize = 1;
  std::string host;
  std::string token;  // the ranks of one job have the same
};

std::string nameOf(int rank, const std::string& host);  // "rank 2 on node7"

// Connection of the hub to one rank.
struct Link {
  Connection connection;
  std::string host;
};

// At rank 0: waits for all others and welcomes them. Place 0 of the result is empty. Throws EngineError
// (ERR_COMMUNICATION) that names the ranks that did not come; those that came are told, too.
std::vector<Link> admitRanks(const Listener& listener, const Identity& self,
                             std::chrono::milliseconds timeout);

// At the others: tries the addresses (separated by commas) in turn, again and again. Throws EngineError
// (ERR_COMMUNICATION) where rank 0 cannot be reached or refuses. The host is that of rank 0.
Link joinRankZero(const Identity& self, const std::string& addresses, int port,
                  std::chrono::milliseconds timeout);

}  // namespace sralign::comm
