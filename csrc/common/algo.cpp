#include "common/algo.h"

namespace fastcnn {

ConvPlan plan(const std::vector<ConvAlgo>& table, const ConvProblem& problem, Pass pass,
              const DeviceProps& props, const AlgoRequest& request, std::vector<ConvRow>* rows) {
  ConvPlan best;
  double best_cost = 0;
  bool known = request.name == "auto", settled = false;
  for (const ConvAlgo& algo : table) {
    const char* reason = algo.unsupported(problem, pass, props);
    size_t bytes = reason ? 0 : algo.workspace_bytes(problem, pass, props);
    if (algo.workspace_within && request.workspace_limit < bytes)
      bytes = algo.workspace_within(problem, pass, request.workspace_limit);
    const double cost = reason ? 0 : algo.cost(problem, pass, props);
    const bool named = request.name == algo.name;
    known = known || named;
    std::string why = reason ? reason : "";
    if (!reason && bytes > request.workspace_limit)
      why = str("needs ", bytes, " workspace bytes, the limit is ", request.workspace_limit);
    if (rows) rows->push_back(ConvRow{algo.name, why, bytes, cost, false});
    if (named && request.strict)
      FC_CHECK(why.empty(), "conv: algo='", algo.name, "' cannot run the ", name_of(pass), " pass of ",
               problem.describe(), ": ", why, "; use algo='auto'");
    if (!why.empty() || settled || (algo.error > request.error_limit && !named)) continue;
    if (named) settled = true;
    if (named || !best.algo || cost < best_cost) {
      best = ConvPlan{&algo, bytes, {}};
      best_cost = cost;
    }
  }
  if (!known) {
    std::string names;
    for (const ConvAlgo& algo : table) names += str(names.empty() ? "" : ", ", algo.name);
    fail<ValueError>("conv: algo='", request.name, "' is unknown, expected auto or one of ", names);
  }
  // The last row needs no workspace: if it cannot run, then for what the problem asks of every row.
  if (!best.algo)
    fail<ValueError>("conv: no algorithm can run the ", name_of(pass), " pass of ", problem.describe(),
                     " on ", props.name, ": ", table.back().unsupported(problem, pass, props));
  if (problem.reuses_filters && best.algo->filters) best.filters = best.algo->filters(problem, pass);
  if (rows)
    for (ConvRow& row : *rows) row.chosen = row.name == best.algo->name;
  return best;
}

}  // namespace fastcnn
