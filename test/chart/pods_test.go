package chart_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
	"sigs.k8s.io/yaml"

	"github.com/fanmail-dev/fanmail/test/process"
)

func TestPodsPassTheRestrictedStandard(t *testing.T) {
	t.Parallel()
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	require.NoError(t, err)
	level := api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}
	for name, args := range values(t) {
		for pod, p := range pods(t, render(t, args...)) {
			got := policy.AggregateCheckResults(evaluator.EvaluatePod(level, &p.ObjectMeta, &p.Spec))
			require.True(t, got.Allowed, "%s: %s: %s", name, pod, got.ForbiddenDetail())
			require.NotNil(t, p.Spec.AutomountServiceAccountToken, pod)
			require.False(t, *p.Spec.AutomountServiceAccountToken, pod)
			for _, c := range p.Spec.Containers {
				require.NotZero(t, c.Resources.Requests.Cpu().MilliValue(), "%s/%s", pod, c.Name)
				require.NotZero(t, c.Resources.Limits.Memory().Value(), "%s/%s", pod, c.Name)
			}
		}
	}
	bare := corev1.PodTemplateSpec{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "x"}}}}
	require.False(t, policy.AggregateCheckResults(evaluator.EvaluatePod(level, &bare.ObjectMeta, &bare.Spec)).Allowed)
}

// commandDir holds the commands once [environment] was called.
var (
	commandDir string
	commands   = sync.OnceValue(func() error {
		return process.Build(context.Background(), commandDir, "cmd/publisher", "cmd/dispatcher", "cmd/ingest", "cmd/api", "cmd/fanmail")
	})
)

func TestMain(m *testing.M) {
	var err error
	if commandDir, err = os.MkdirTemp("", "fanmail-chart-"); err != nil {
		panic(err)
	}
	code := m.Run()
	_ = os.RemoveAll(commandDir)
	os.Exit(code)
}

// environment returns the variables in a command's --help.
func environment(t *testing.T, command string, args ...string) map[string]bool {
	t.Helper()
	require.NoError(t, commands())
	out, err := exec.CommandContext(t.Context(), filepath.Join(commandDir, command), args...).CombinedOutput()
	require.NoError(t, err, string(out))
	known := map[string]bool{}
	for _, m := range regexp.MustCompile(`\$(FANMAIL_[A-Z_]+)`).FindAllStringSubmatch(string(out), -1) {
		known[m[1]] = true
	}
	require.NotEmpty(t, known)
	return known
}

// TestEnvironmentsAreKnown compares what the chart sets with what each command reads, and ports with
// addresses.
func TestEnvironmentsAreKnown(t *testing.T) {
	t.Parallel()
	known := map[string]map[string]bool{}
	for _, c := range []string{"publisher", "dispatcher", "ingest", "api"} {
		known[c] = environment(t, c, "--help")
	}
	for _, c := range []string{"migrate", "maintain", "streams"} {
		known[c] = environment(t, "fanmail", c, "--help")
	}
	known["edge"] = known["ingest"]
	known["secrets"] = environment(t, "fanmail", "secrets", "rotate", "--help")
	seen := map[string]bool{}
	for name, args := range values(t) {
		for pod, p := range pods(t, render(t, args...)) {
			for _, c := range p.Spec.Containers {
				reads, ours := known[c.Name]
				if !ours || strings.HasSuffix(pod, "-test-ready") {
					continue
				}
				seen[c.Name] = true
				ports := map[string]int32{}
				for _, port := range c.Ports {
					ports[port.Name] = port.ContainerPort
				}
				set := map[string]bool{}
				for _, e := range c.Env {
					require.False(t, set[e.Name], "%s: %s: %s is set twice", name, pod, e.Name)
					set[e.Name] = true
					if strings.HasPrefix(e.Name, "FANMAIL_") {
						require.True(t, reads[e.Name], "%s: %s reads no %s", name, c.Name, e.Name)
					}
					for variable, port := range map[string]string{
						"FANMAIL_HTTP_ADDR": "status", "FANMAIL_API_ADDR": "http", "FANMAIL_SMTP_ADDR": "smtp",
					} {
						if e.Name == variable {
							require.Equal(t, e.Value, fmt.Sprintf(":%d", ports[port]), "%s: %s: %s", name, c.Name, variable)
						}
					}
				}
			}
		}
	}
	require.Len(t, seen, len(known), "no set of values runs every command: %v", seen)
}

func TestDeploymentsLiveAndLeaveAsTheyShould(t *testing.T) {
	t.Parallel()
	for name, args := range values(t) {
		checked := 0
		for _, o := range render(t, args...) {
			if o.Kind != "Deployment" {
				continue
			}
			checked++
			d := as[appsv1.Deployment](t, o)
			c := d.Spec.Template.Spec.Containers[0]
			require.Equal(t, "/healthz", c.LivenessProbe.HTTPGet.Path, "liveness knows of no dependency")
			require.Equal(t, "/healthz", c.StartupProbe.HTTPGet.Path)
			require.Equal(t, "/readyz", c.ReadinessProbe.HTTPGet.Path)
			for _, e := range c.Env {
				// The bundled NATS has no users.
				secret := e.Name == "FANMAIL_DATABASE_URL" || e.Name == "FANMAIL_BLOBS" || e.Name == "FANMAIL_OIDC_CLIENT_SECRET" || e.Name == "FANMAIL_NATS_URL" && name != "bundled-values.yaml"
				require.Equal(t, secret, e.ValueFrom != nil && e.ValueFrom.SecretKeyRef != nil, "%s: %s comes from a Secret", name, e.Name)
			}
			if strings.HasSuffix(o.Metadata.Name, "-maintain") {
				continue // one that does not drain
			}
			env := map[string]string{}
			for _, e := range c.Env {
				env[e.Name] = e.Value
			}
			drain, err := time.ParseDuration(env["FANMAIL_DRAIN"])
			require.NoError(t, err)
			preStop := time.Duration(0)
			if c.Lifecycle != nil {
				preStop = time.Duration(c.Lifecycle.PreStop.Sleep.Seconds) * time.Second
			}
			// docs/how-to/observe.md asks for a tenth of the drain, and 3 s.
			grace := time.Duration(*d.Spec.Template.Spec.TerminationGracePeriodSeconds) * time.Second
			require.GreaterOrEqual(t, grace, preStop+drain+drain/10+3*time.Second, "%s: %s", name, o.Metadata.Name)
			require.Zero(t, d.Spec.Strategy.RollingUpdate.MaxUnavailable.IntValue(), "%s: %s", name, o.Metadata.Name)
			require.Len(t, d.Spec.Template.Spec.TopologySpreadConstraints, 2)
			for _, spread := range d.Spec.Template.Spec.TopologySpreadConstraints {
				require.Equal(t, d.Spec.Selector.MatchLabels, spread.LabelSelector.MatchLabels)
			}
		}
		require.Equal(t, map[string]int{"default": 5, "large-values.yaml": 6, "plain-values.yaml": 4, "bundled-values.yaml": 4}[name], checked, name)
	}
}

// TestBudgetsNeverHoldUpANode: one pod may always be evicted, and so may all pods that do not work
// anyway.
func TestBudgetsNeverHoldUpANode(t *testing.T) {
	t.Parallel()
	for name, args := range values(t) {
		budgets := 0
		for _, o := range render(t, args...) {
			if o.Kind != "PodDisruptionBudget" {
				continue
			}
			budgets++
			b := as[policyv1.PodDisruptionBudget](t, o)
			require.Nil(t, b.Spec.MinAvailable, "%s: %s", name, o.Metadata.Name)
			require.Equal(t, 1, b.Spec.MaxUnavailable.IntValue(), "%s: %s", name, o.Metadata.Name)
			require.Equal(t, policyv1.AlwaysAllow, *b.Spec.UnhealthyPodEvictionPolicy)
		}
		require.Equal(t, map[bool]int{true: 5, false: 4}[name == "large-values.yaml"], budgets, name)
	}
}

// TestTheLogLevelRollsNoPods: the level reaches the pods in a file.
func TestTheLogLevelRollsNoPods(t *testing.T) {
	t.Parallel()
	levels := map[string]string{}
	templates := map[string]map[string]string{}
	for _, level := range []string{"info", "debug"} {
		templates[level] = map[string]string{}
		objects := render(t, "--set", "log.level="+level)
		for _, o := range objects {
			switch o.Kind {
			case "Deployment":
				templates[level][o.Metadata.Name] = string(o.raw)
			case "ConfigMap":
				levels[level] = as[corev1.ConfigMap](t, o).Data["log-level"]
				for pod, p := range pods(t, objects) {
					if !strings.HasPrefix(pod, "Deployment/") {
						continue
					}
					c := p.Spec.Containers[0]
					require.Equal(t, o.Metadata.Name, p.Spec.Volumes[0].ConfigMap.Name, pod)
					require.Equal(t, p.Spec.Volumes[0].Name, c.VolumeMounts[0].Name, pod)
					require.Empty(t, c.VolumeMounts[0].SubPath, "a file that is mounted alone is never replaced")
					require.Contains(t, c.Env, corev1.EnvVar{Name: "FANMAIL_LOG_LEVEL_FILE", Value: c.VolumeMounts[0].MountPath + "/log-level"}, pod)
				}
			}
		}
	}
	require.Equal(t, map[string]string{"info": "info", "debug": "debug"}, levels)
	require.Len(t, templates["info"], 5)
	require.Equal(t, templates["info"], templates["debug"])
}

// TestThePageCountsConnections adds up the connections that the processes may open, and looks for the
// sum in docs/how-to/deploy-on-kubernetes.md.
func TestThePageCountsConnections(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/how-to/deploy-on-kubernetes.md")
	require.NoError(t, err)
	for _, args := range [][]string{nil, {"--values", chartDir + "/ci/large-values.yaml"}} {
		objects := render(t, args...)
		most := map[string]int{}
		for _, o := range objects {
			var scaled struct {
				Spec struct {
					ScaleTargetRef               struct{ Name string }
					MaxReplicas, MaxReplicaCount int
				}
			}
			if o.Kind == "HorizontalPodAutoscaler" || o.Kind == "ScaledObject" {
				require.NoError(t, yaml.Unmarshal(o.raw, &scaled))
				most[scaled.Spec.ScaleTargetRef.Name] = scaled.Spec.MaxReplicas + scaled.Spec.MaxReplicaCount
			}
		}
		sum := 0
		for _, o := range objects {
			if o.Kind != "Deployment" {
				continue
			}
			d := as[appsv1.Deployment](t, o)
			replicas := most[d.Name]
			if d.Spec.Replicas != nil {
				replicas = int(*d.Spec.Replicas)
			}
			for _, e := range d.Spec.Template.Spec.Containers[0].Env {
				if e.Name == "FANMAIL_DATABASE_MAX_CONNS" {
					n, err := strconv.Atoi(e.Value)
					require.NoError(t, err)
					if strings.HasSuffix(d.Name, "-dispatcher") {
						n += min(4, n/4) // the pool for the agents' own webhooks, pg.AgentConns
					}
					sum += n * replicas
				}
			}
		}
		require.Contains(t, string(page), fmt.Sprintf(" = %d", sum), "%v", args)
	}
}

// TestTheSecretsKeyReachesThoseWhoEncrypt: the Secret's file is where the setting names it, for those processes alone that
// read secrets, and for the Job that encrypts what was stored before.
func TestTheSecretsKeyReachesThoseWhoEncrypt(t *testing.T) {
	t.Parallel()
	for _, set := range []string{"", "secretsKey.secret.name=mine,secretsKey.secret.key=keyset"} {
		var have []string
		for pod, p := range pods(t, render(t, "--set", set)) {
			var file, dir string
			for _, c := range p.Spec.Containers {
				for _, e := range c.Env {
					if e.Name == "FANMAIL_SECRETS_KEY_FILE" {
						file = e.Value
					}
				}
				for _, m := range c.VolumeMounts {
					if m.Name == "secrets-key" {
						dir = m.MountPath
						require.True(t, m.ReadOnly, pod)
					}
				}
			}
			require.Equal(t, file == "", dir == "", pod)
			if file == "" {
				continue
			}
			have = append(have, pod)
			for _, v := range p.Spec.Volumes {
				if v.Name == "secrets-key" {
					require.Equal(t, "mine", v.Secret.SecretName, pod)
					require.Equal(t, "keyset", v.Secret.Items[0].Key, pod)
					require.Equal(t, dir+"/"+v.Secret.Items[0].Path, file, pod)
				}
			}
		}
		if set == "" {
			require.Empty(t, have)
			continue
		}
		require.ElementsMatch(t, []string{"Deployment/mx-fanmail-api", "Deployment/mx-fanmail-dispatcher", "Job/mx-fanmail-secrets"}, have)
	}
}

// TestTheKMSReachesThoseWhoReadTheKeyset: its URL and the variables for its credentials stand beside the keyset's file.
func TestTheKMSReachesThoseWhoReadTheKeyset(t *testing.T) {
	t.Parallel()
	const url = "aws-kms://arn:aws:kms:eu-central-1:111122223333:key/1"
	have := map[string]int{}
	for pod, p := range pods(t, render(t, "--set", "secretsKey.secret.name=mine,secretsKey.kms="+url+",secretsKey.extraEnv[0].name=AWS_PROFILE,secretsKey.extraEnv[0].value=fanmail")) {
		for _, c := range p.Spec.Containers {
			for _, e := range c.Env {
				switch e.Name {
				case "FANMAIL_SECRETS_KMS":
					require.Equal(t, url, e.Value, pod)
				case "AWS_PROFILE":
					require.Equal(t, "fanmail", e.Value, pod)
				case "FANMAIL_SECRETS_KEY_FILE":
				default:
					continue
				}
				have[pod]++
			}
		}
	}
	require.Equal(t, map[string]int{"Deployment/mx-fanmail-api": 3, "Deployment/mx-fanmail-dispatcher": 3, "Job/mx-fanmail-secrets": 3}, have)
}

// TestAnEdgeHasNoDatabase: its pod publishes to the broker as the user edge, and knows no database.
func TestAnEdgeHasNoDatabase(t *testing.T) {
	t.Parallel()
	require.NotContains(t, pods(t, render(t)), "Deployment/mx-fanmail-edge", "it is off unless it is asked for")
	edge, ok := pods(t, render(t, "--set", "edge.enabled=true,ingest.postmaster=desk@example.com,ingest.milters={inet:rspamd.mail:11332?name=rspamd,unix:/run/clamav}"))["Deployment/mx-fanmail-edge"]
	require.True(t, ok)
	c := edge.Spec.Containers[0]
	require.Equal(t, []string{"/ko-app/ingest"}, c.Command)
	env := map[string]corev1.EnvVar{}
	for _, e := range c.Env {
		env[e.Name] = e
		require.NotContains(t, e.Name, "DATABASE")
	}
	require.Equal(t, "true", env["FANMAIL_PUBLISH"].Value)
	require.Equal(t, "fanmail-nats-edge", env["FANMAIL_NATS_URL"].ValueFrom.SecretKeyRef.Name)
	require.Equal(t, "metadata.name", env["FANMAIL_NODE"].ValueFrom.FieldRef.FieldPath)
	require.Equal(t, "refuse", env["FANMAIL_UNKNOWN_RECIPIENTS"].Value)
	require.Equal(t, "desk@example.com", env["FANMAIL_POSTMASTER"].Value)
	require.Equal(t, "inet:rspamd.mail:11332?name=rspamd,unix:/run/clamav", env["FANMAIL_MILTER"].Value)
}

func TestTheAPIKnowsItsURLItsProxiesAndHowLongTheAuditLogIsKept(t *testing.T) {
	t.Parallel()
	env := func(pod string, args ...string) map[string]string {
		out := map[string]string{}
		for _, c := range pods(t, render(t, args...))[pod].Spec.Containers {
			for _, e := range c.Env {
				out[e.Name] = e.Value
			}
		}
		return out
	}
	const api, maintain = "Deployment/mx-fanmail-api", "Deployment/mx-fanmail-maintain"
	require.NotContains(t, env(api), "FANMAIL_PUBLIC_URL")
	require.NotContains(t, env(api), "FANMAIL_TRUSTED_PROXIES")
	set := []string{"--set", "api.publicURL=https://mail.example.com,api.trustedProxies={10.0.0.0/8,2001:db8::/32},maintain.auditRetention=48h"}
	require.Equal(t, "https://mail.example.com", env(api, set...)["FANMAIL_PUBLIC_URL"])
	require.Equal(t, "10.0.0.0/8,2001:db8::/32", env(api, set...)["FANMAIL_TRUSTED_PROXIES"])
	require.Equal(t, "48h", env(maintain, set...)["FANMAIL_AUDIT_RETENTION"])
	require.Equal(t, "48h", env("Deployment/mx-fanmail-dispatcher", set...)["FANMAIL_AUDIT_RETENTION"])
	kept := []string{"--set", "maintain.eventRetention=168h,maintain.deliveryRetention=144h,maintain.attemptRetention=120h,maintain.mailRetention=72h"}
	for _, pod := range []string{api, maintain, "Deployment/mx-fanmail-dispatcher"} {
		require.NotContains(t, env(pod), "FANMAIL_EVENT_RETENTION", pod)
		got := env(pod, kept...)
		require.Equal(t, []string{"168h", "144h", "120h", "72h"},
			[]string{got["FANMAIL_EVENT_RETENTION"], got["FANMAIL_DELIVERY_RETENTION"], got["FANMAIL_ATTEMPT_RETENTION"], got["FANMAIL_MAIL_RETENTION"]}, pod)
	}
	_, err := helm(t, "template", "mx", chartDir, "--set", "api.trustedProxies={proxy}")
	require.Error(t, err)
}
