// The planner's rule about errors: "auto" takes a row only if its error bound is within the request's limit; a row that
// is named or preferred is the user's own choice.
#include "check.h"
#include "common/algo.h"

using namespace fastcnn;

namespace {

const char* can(const ConvProblem&, Pass, const DeviceProps&) { return nullptr; }
size_t no_bytes(const ConvProblem&, Pass, const DeviceProps&) { return 0; }
double quick(const ConvProblem&, Pass, const DeviceProps&) { return 1; }
double slow(const ConvProblem&, Pass, const DeviceProps&) { return 2; }

}  // namespace

int main() {
  const std::vector<ConvAlgo> table = {{"rough", can, no_bytes, quick, nullptr, 6},
                                       {"plain", can, no_bytes, slow, nullptr}};
  const ConvGeometry geometry{{1, 1}, {1, 1}, {0, 0}, {0, 0}};
  const ConvProblem problem("conv2d", {1, 1, 3, 3}, {1, 1, 3, 3}, geometry, DType::float32);
  const auto chosen = [&](const AlgoRequest& request) {
    std::vector<ConvRow> rows;
    const ConvPlan found = plan(table, problem, Pass::forward, DeviceProps(), request, &rows);
    for (const ConvRow& row : rows) CHECK(row.reason.empty() && row.chosen == (row.name == found.algo->name));
    return std::string(found.algo->name);
  };
  AlgoRequest request;
  CHECK(chosen(request) == "rough");  // the default admits 6 times direct's error
  request.error_limit = 5.9;
  CHECK(chosen(request) == "plain");
  request.name = "rough";
  CHECK(chosen(request) == "rough");
  request.strict = false;
  CHECK(chosen(request) == "rough");
  return test::report("plan");
}
