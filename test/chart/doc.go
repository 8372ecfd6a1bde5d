// Package chart checks what deploy/ gives to operators, with the tools that they would use. Helm lints
// and renders the chart with several sets of values. kubeconform validates every object with schemas
// that [Schemas] makes from the Kubernetes, KEDA and Prometheus operator modules. The API server's own
// rules check every object, and the policy evaluator of Pod Security admission checks every pod by the
// restricted standard. The Compose and Dockerfile parsers read their files.
//
// It is a module of its own, so that the product requires none of this. Once the modules are
// downloaded it needs no network.
package chart
