package chart_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
)

// reaches reports whether a policy allows traffic to an address outside the cluster.
func reaches(p networkingv1.NetworkPolicy, addr string, port int32) bool {
	ip := netip.MustParseAddr(addr).Unmap() // a mapped address is an IPv4 one on the wire
	for _, rule := range p.Spec.Egress {
		if len(rule.Ports) > 0 && !slices.ContainsFunc(rule.Ports, func(r networkingv1.NetworkPolicyPort) bool {
			return r.Port.IntVal == port && *r.Protocol == corev1.ProtocolTCP
		}) {
			continue
		}
		if len(rule.To) == 0 {
			return true
		}
		for _, peer := range rule.To {
			if peer.IPBlock == nil || !netip.MustParsePrefix(peer.IPBlock.CIDR).Contains(ip) {
				continue
			}
			if !slices.ContainsFunc(peer.IPBlock.Except, func(e string) bool { return netip.MustParsePrefix(e).Contains(ip) }) {
				return true
			}
		}
	}
	return false
}

func policies(t *testing.T, args ...string) map[string]networkingv1.NetworkPolicy {
	t.Helper()
	found := map[string]networkingv1.NetworkPolicy{}
	for _, o := range render(t, args...) {
		if o.Kind == "NetworkPolicy" {
			p := as[networkingv1.NetworkPolicy](t, o)
			require.Equal(t, []networkingv1.PolicyType{"Ingress", "Egress"}, p.Spec.PolicyTypes)
			found[p.Spec.PodSelector.MatchLabels["app.kubernetes.io/component"]] = p
		}
	}
	for _, component := range []string{"publisher", "dispatcher", "ingest", "api", "migrate", "maintain"} {
		require.Contains(t, found, component)
	}
	return found
}

func TestDispatchersReachTheInternetAndNotTheCluster(t *testing.T) {
	t.Parallel()
	all := policies(t, "--values", chartDir+"/ci/large-values.yaml")
	d := all["dispatcher"]
	for _, public := range []string{"93.184.215.14", "8.8.8.8", "2606:4700::1111"} {
		require.True(t, reaches(d, public, 443), public)
		require.False(t, reaches(d, public, 25), "webhookPorts")
		for _, other := range []string{"publisher", "ingest", "edge", "api", "migrate", "maintain"} {
			require.False(t, reaches(all[other], public, 443), "%s has no business with %s", other, public)
		}
	}
	for _, inside := range []string{
		"10.0.0.1", "10.20.0.3", "172.20.1.1", "192.168.1.1", "169.254.169.254", "127.0.0.1", "100.64.0.1", "0.0.0.0", "224.0.0.1", "203.0.113.9",
		"::1", "fe80::1", "fc00::1", "fd00:ec2::254", "64:ff9b::a00:1", "2002:a00:1::", "::ffff:10.0.0.1", "2001:db8::1",
	} {
		require.False(t, reaches(d, inside, 443), inside)
		require.False(t, reaches(d, inside, 8443), inside)
	}
	require.True(t, reaches(d, "10.20.0.3", 5432), "but the database")
	require.True(t, reaches(all["api"], "10.20.0.3", 5432))
	require.False(t, reaches(all["api"], "10.20.1.3", 5432))
	require.False(t, reaches(all["edge"], "10.20.0.3", 5432), "an edge has no business with the database")

	allowed := policies(t, "--set", "outbound.allowNetworks={10.9.0.0/16}")["dispatcher"]
	require.True(t, reaches(allowed, "10.9.1.1", 8443), "what the operator allows, the policy does")
	require.False(t, reaches(allowed, "10.8.1.1", 8443))
}

// TestTheKMSOpensNoPrivateAddressToDispatchers: they reach the KMS's public addresses anyway, and a private one if it is
// named.
func TestTheKMSOpensNoPrivateAddressToDispatchers(t *testing.T) {
	t.Parallel()
	const kms = "secretsKey.secret.name=mine,secretsKey.kms=aws-kms://arn:aws:kms:eu-central-1:111122223333:key/1"
	open := policies(t, "--set", kms)
	for _, component := range []string{"dispatcher", "api", "migrate"} {
		require.True(t, reaches(open[component], "8.8.8.8", 443), component)
	}
	require.False(t, reaches(open["dispatcher"], "10.7.0.1", 443))
	require.False(t, reaches(open["publisher"], "8.8.8.8", 443))
	named := policies(t, "--set", kms+",networkPolicy.kms.to[0].ipBlock.cidr=10.7.0.0/16")
	for _, component := range []string{"dispatcher", "api", "migrate"} {
		require.True(t, reaches(named[component], "10.7.0.1", 443), component)
		require.False(t, reaches(named[component], "10.8.0.1", 443), component)
	}
	require.False(t, reaches(named["api"], "8.8.8.8", 443))
}

// TestMailIsFilteredWhereThePolicyLetsIngestGo reads the ports of the filters from their addresses.
func TestMailIsFilteredWhereThePolicyLetsIngestGo(t *testing.T) {
	t.Parallel()
	const filters = `ingest.milters=["inet:rspamd.mail:11332?name=rspamd","inet:[fd00::1]:7357","unix:/run/opendkim.sock","inet:second.mail:11332?on_failure=accept"]`
	anywhere := policies(t, "--set-json", filters, "--set", "edge.enabled=true")
	only := policies(t, "--set-json", filters, "--set", "edge.enabled=true,networkPolicy.milters.to[0].ipBlock.cidr=10.6.0.0/16")
	for component, p := range anywhere {
		filtering := component == "ingest" || component == "edge"
		for _, port := range []int32{11332, 7357} {
			if component == "dispatcher" {
				continue // it has the internet anyway
			}
			require.Equal(t, filtering, reaches(p, "10.6.0.1", port), "%s, port %d", component, port)
			require.Equal(t, filtering, reaches(only[component], "10.6.0.1", port), "%s, port %d", component, port)
			require.False(t, reaches(only[component], "10.7.0.1", port), "%s, port %d", component, port)
		}
		require.False(t, filtering && reaches(p, "10.6.0.1", 8080), component)
	}
	for component, p := range policies(t, "--set", "ingest.milters={unix:/run/opendkim.sock},edge.enabled=true") {
		require.False(t, component != "dispatcher" && reaches(p, "10.6.0.1", 11332), component)
	}
}

func TestOnlyTheirOwnPortsAreOpen(t *testing.T) {
	t.Parallel()
	want := map[string][]int32{
		"publisher": {9101}, "dispatcher": {9102}, "ingest": {2525, 9103}, "edge": {2525, 9106}, "api": {8080, 9104}, "migrate": nil, "maintain": {9105},
	}
	listens := map[string][]int32{}
	for _, pod := range pods(t, render(t, "--set", "edge.enabled=true")) {
		component := pod.Labels["app.kubernetes.io/component"]
		for _, port := range pod.Spec.Containers[0].Ports {
			listens[component] = append(listens[component], port.ContainerPort)
		}
		slices.Sort(listens[component])
	}
	for component, p := range policies(t, "--set", "edge.enabled=true") {
		require.Equal(t, want[component], listens[component], "%s listens where its policy lets others in", component)
		var open []int32
		for _, rule := range p.Spec.Ingress {
			require.True(t, len(rule.From) > 0 || (component == "ingest" || component == "edge") && rule.Ports[0].Port.IntVal == 2525, "mail alone comes from anywhere")
			for _, port := range rule.Ports {
				open = append(open, port.Port.IntVal)
			}
		}
		slices.Sort(open)
		require.Equal(t, want[component], slices.Compact(open), component)
	}
}

// TestPoliciesAndServicesSelectPods: a selector that matches nothing protects nothing.
func TestPoliciesAndServicesSelectPods(t *testing.T) {
	t.Parallel()
	for name, args := range values(t) {
		objects := render(t, args...)
		templates := pods(t, objects)
		fits := func(selector map[string]string) bool {
			for _, p := range templates {
				if containsAll(p.Labels, selector) {
					return true
				}
			}
			return false
		}
		for _, o := range objects {
			switch o.Kind {
			case "Service":
				require.True(t, fits(as[corev1.Service](t, o).Spec.Selector), "%s: %s", name, o.Metadata.Name)
			case "NetworkPolicy":
				// The bundled installation has neither a migration nor a maintenance pod.
				component := o.Metadata.Name[strings.LastIndex(o.Metadata.Name, "-")+1:]
				if name == "bundled-values.yaml" && (component == "migrate" || component == "maintain") {
					continue
				}
				require.True(t, fits(as[networkingv1.NetworkPolicy](t, o).Spec.PodSelector.MatchLabels), "%s: %s", name, o.Metadata.Name)
			}
		}
	}
}

func containsAll(have, want map[string]string) bool {
	for k, v := range want {
		if have[k] != v {
			return false
		}
	}
	return true
}
