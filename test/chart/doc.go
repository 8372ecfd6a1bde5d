// Package chart checks what deploy/ hands to operators, with the tools that they
// would use: helm lints and renders the chart over several sets of values,
// kubeconform validates every object against schemas that [Schemas] makes from
// the Kubernetes, KEDA and Prometheus operator modules, the API server's own
// rules judge every object, the policy evaluator of Pod Security admission judges
// every pod by the restricted standard, and the Compose and Dockerfile parsers
// read what they will be given.
//
// It is a module of its own, so that none of this reaches the product's. Once
// the modules are there it needs no network.
package chart
