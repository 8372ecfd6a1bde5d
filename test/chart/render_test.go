package chart_test

import (
	"bytes"
	"context"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

const (
	chartDir  = "../../deploy/chart"
	namespace = "mail"
)

// values are the sets of values that everything is checked with.
func values(t *testing.T) map[string][]string {
	t.Helper()
	files, err := filepath.Glob(chartDir + "/ci/*.yaml")
	require.NoError(t, err)
	require.Len(t, files, 3)
	sets := map[string][]string{"default": nil}
	for _, f := range files {
		sets[filepath.Base(f)] = []string{"--values", f}
	}
	return sets
}

// binary builds helm once, in the version that go.mod names.
var binary = sync.OnceValues(func() (string, error) {
	out, err := exec.CommandContext(context.Background(), "go", "tool", "-n", "helm").Output()
	return strings.TrimSpace(string(out)), err
})

func helm(t *testing.T, args ...string) (string, error) {
	t.Helper()
	bin, err := binary()
	require.NoError(t, err, "build helm")
	cmd := exec.CommandContext(t.Context(), bin, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err = cmd.Run(); err != nil {
		return out.String() + errs.String(), err
	}
	return out.String(), nil // the other stream reports links that it follows
}

// object is a rendered object.
type object struct {
	APIVersion string
	Kind       string
	Metadata   struct {
		Name        string
		Annotations map[string]string
	}
	raw []byte
}

// render returns the objects of a release named "mx".
func render(t *testing.T, args ...string) []object {
	t.Helper()
	out, err := helm(t, append([]string{"template", "mx", chartDir, "--namespace", namespace, "--kube-version", "1.34.0"}, args...)...)
	require.NoError(t, err, out)
	var objects []object
	for doc := range strings.SplitSeq("\n"+out, "\n---\n") {
		o := object{raw: []byte(doc)}
		require.NoError(t, yaml.UnmarshalStrict(o.raw, &map[string]any{}), doc)
		require.NoError(t, yaml.Unmarshal(o.raw, &o), doc)
		if o.Kind != "" {
			objects = append(objects, o)
		}
	}
	require.NotEmpty(t, objects)
	return objects
}

// as decodes an object as its own type, and refuses unknown fields.
func as[T any](t *testing.T, o object) T {
	t.Helper()
	var v T
	require.NoError(t, yaml.UnmarshalStrict(o.raw, &v), string(o.raw))
	return v
}

// pods returns the pod templates of all objects, by kind and name.
func pods(t *testing.T, objects []object) map[string]corev1.PodTemplateSpec {
	t.Helper()
	found := map[string]corev1.PodTemplateSpec{}
	for _, o := range objects {
		var v struct {
			Spec struct{ Template *corev1.PodTemplateSpec }
		}
		if o.Kind == "Pod" {
			p := as[corev1.Pod](t, o)
			v.Spec.Template = &corev1.PodTemplateSpec{ObjectMeta: p.ObjectMeta, Spec: p.Spec}
		} else {
			require.NoError(t, yaml.Unmarshal(o.raw, &v))
		}
		if v.Spec.Template != nil && len(v.Spec.Template.Spec.Containers) > 0 {
			found[o.Kind+"/"+o.Metadata.Name] = *v.Spec.Template
		}
	}
	require.NotEmpty(t, found)
	return found
}

func TestLint(t *testing.T) {
	t.Parallel()
	for name, args := range values(t) {
		out, err := helm(t, append([]string{"lint", "--strict", chartDir}, args...)...)
		require.NoError(t, err, "%s: %s", name, out)
	}
}

func TestValuesThatCannotWorkAreRefused(t *testing.T) {
	t.Parallel()
	for settings, says := range map[string]string{
		"dispatcher.replicaz=3":                       "replicaz",
		"dispatcher.replicas=33":                      "maximum: got 33, want 32",
		"dispatcher.autoscaling.max=33":               "maximum: got 33, want 32",
		"dispatcher.autoscaling.min=9":                "dispatcher.autoscaling.min is 9 and max is 8",
		"dispatcher.autoscaling.by=magic":             "autoscaling/by",
		"dispatcher.terminationGracePeriodSeconds=5":  "dispatcher.terminationGracePeriodSeconds is 5",
		"dispatcher.terminationGracePeriodSeconds=30": "take up to 31 s",
		"dispatcher.resources.limitz.memory=1Gi":      "limitz",
		"api.drain=soon":                              "drain",
		"api.podDisruptionBudget.minAvailable=1":      "maxProperties: got 2, want 1",
		"image.digest=latest":                         "digest",
		"image.layout=ko,image.digest=sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa": "image.digest is one image's",
		"ingest.publicURL=api.example.org":                    "publicURL",
		"ingest.milters={rspamd:11332}":                       "milters",
		"ingest.postmaster=postmaster":                        "postmaster",
		"edge.unknownRecipients=perhaps":                      "unknownRecipients",
		"edge.publicURL=https://example.com":                  "publicURL",
		"edge.autoscaling.min=9":                              "edge.autoscaling.min is 9 and max is 6",
		"secretsKey.kms=hcvault://vault/transit":              "secretsKey/kms",
		"secretsKey.secret.key=":                              "secretsKey/secret/key",
		"log.level=loud":                                      "log/level",
		"nats.streams.replicas=2":                             "nats/streams/replicas",
		"nats.clientCertificate=true":                         "nats.clientCertificate needs nats.tlsSecret",
		"nats.streams.by=job,migrate.enabled=false":           "nats.streams.by is job, and migrate.enabled is false",
		"bundled.enabled=true,dispatcher.autoscaling.by=keda": "bundled.enabled goes without KEDA",
		"outbound.allowNetworks={everything}":                 "allowNetworks",
		"database.secrets.api.name=":                          "database/secrets/api/name",
		"serviceMonitor.interval=often":                       "serviceMonitor/interval",
	} {
		out, err := helm(t, "template", "mx", chartDir, "--set", settings)
		require.Error(t, err, settings)
		require.Contains(t, out, says, settings)
	}
}
