package chart_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/dotenv"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"

	"github.com/fanmail-dev/fanmail/internal/keyring"
	"github.com/fanmail-dev/fanmail/internal/secret"
)

// lint returns the breaches of BuildKit's rules, each with its line.
func lint(t *testing.T, dockerfile []byte) (stages []instructions.Stage, breaches []string) {
	t.Helper()
	parsed, err := parser.Parse(bytes.NewReader(dockerfile))
	require.NoError(t, err)
	for _, w := range parsed.Warnings {
		breaches = append(breaches, w.Short)
	}
	l := linter.New(&linter.Config{Warn: func(rule, _, _, message string, _ []parser.Range) {
		breaches = append(breaches, rule+": "+message)
	}})
	stages, _, err = instructions.Parse(parsed.AST, l)
	require.NoError(t, err)
	return stages, breaches
}

func TestDockerfile(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../deploy/Dockerfile")
	require.NoError(t, err)
	stages, breaches := lint(t, text)
	require.Empty(t, breaches)
	last := stages[len(stages)-1]
	require.Contains(t, last.BaseName, "distroless/static")
	var user string
	var copied []string
	for _, c := range last.Commands {
		require.NotEqual(t, "RUN", strings.ToUpper(c.Name()), "the image has no shell")
		switch c := c.(type) {
		case *instructions.UserCommand:
			user = c.User
		case *instructions.CopyCommand:
			copied = append(copied, c.DestPath)
		}
	}
	require.Regexp(t, `^[1-9][0-9]*:[1-9][0-9]*$`, user, "a number, or runAsNonRoot can't tell")
	require.Contains(t, copied, "/usr/share/doc/fanmail/", "the image has the licences of what it contains")

	_, breaches = lint(t, []byte("from scratch as X\nMAINTAINER me\nENTRYPOINT /bin/x\n"))
	require.NotEmpty(t, breaches, "the linter can find fault")
}

// TestTheImagesContextHasAllThatIsBuilt checks that .dockerignore lets the builder see every file of
// the commands, also embedded ones, and no test.
func TestTheImagesContextHasAllThatIsBuilt(t *testing.T) {
	t.Parallel()
	ignore, err := os.Open("../../deploy/Dockerfile.dockerignore")
	require.NoError(t, err)
	defer func() { _ = ignore.Close() }()
	patterns, err := ignorefile.ReadAll(ignore)
	require.NoError(t, err)
	matcher, err := patternmatcher.New(patterns)
	require.NoError(t, err)
	ignored := func(path string) bool {
		hit, err := matcher.MatchesOrParentMatches(filepath.ToSlash(path))
		require.NoError(t, err)
		return hit
	}
	list := exec.CommandContext(t.Context(), "go", "-C", "../..", "list", "-deps", "-f",
		`{{$d := .Dir}}{{with .Module}}{{if .Main}}{{range $.GoFiles}}{{$d}}/{{.}}{{"\n"}}{{end}}{{range $.EmbedFiles}}{{$d}}/{{.}}{{"\n"}}{{end}}{{end}}{{end}}`, "./cmd/...")
	out, err := list.CombinedOutput()
	require.NoError(t, err, string(out))
	root, err := filepath.Abs("../..")
	require.NoError(t, err)
	files := strings.Fields(string(out))
	require.Greater(t, len(files), 200)
	for _, f := range files {
		rel, err := filepath.Rel(root, f)
		require.NoError(t, err)
		require.False(t, ignored(rel), "the builder needs %s", rel)
	}
	for _, f := range []string{"go.mod", "go.sum", "LICENSE", "deploy/build.sh", "scripts/notices.sh", "internal/console/assets/htmx.LICENSE"} {
		require.FileExists(t, filepath.Join(root, f))
		require.False(t, ignored(f), "the builder needs %s", f)
	}
	for _, f := range []string{"test/e2e/rig_test.go", "internal/app/process_test.go", ".git/config", "docs/explanation/design.md", "deploy/chart/values.yaml"} {
		require.True(t, ignored(f), f)
	}
}

// TestCompose loads the file as Compose does.
func TestCompose(t *testing.T) {
	t.Parallel()
	printed, err := exec.CommandContext(t.Context(), "../../deploy/compose/secrets.sh").Output()
	require.NoError(t, err)
	parsed, err := dotenv.Parse(bytes.NewReader(printed))
	require.NoError(t, err)
	secrets := []string{}
	for name, value := range parsed {
		secrets = append(secrets, name+"="+value)
	}
	keys, err := keyring.Load(keyring.Source{Key: secret.Text(parsed["FANMAIL_SECRETS_KEY"])})
	require.NoError(t, err, "the keyset is one")
	require.NotEmpty(t, keys.Primary())
	load := func(env []string) (err error) {
		opts, err := cli.NewProjectOptions([]string{"../../deploy/compose.yaml"}, cli.WithEnv(env), cli.WithName("fanmail"), cli.WithProfiles([]string{"edge", "secrets"}))
		require.NoError(t, err)
		project, err := opts.LoadProject(context.Background())
		if err != nil {
			return err
		}
		known := map[string]map[string]bool{}
		for _, c := range []string{"publisher", "dispatcher", "ingest", "api"} {
			known[c] = environment(t, c, "--help")
		}
		known["edge"] = known["ingest"]
		known["secrets"] = environment(t, "fanmail", "secrets", "rotate", "--help")
		known["maintain"] = environment(t, "fanmail", "maintain", "--help")
		scraped := targets(t)
		for name, s := range project.Services {
			for variable, value := range s.Environment {
				require.NotNil(t, value, "%s: %s", name, variable)
				if reads, ours := known[name]; ours {
					require.True(t, reads[variable], "%s reads no %s", name, variable)
				}
				if variable == "FANMAIL_HTTP_ADDR" {
					require.Equal(t, *value, scraped[name], "Prometheus finds %s", name)
					require.Contains(t, s.Networks, "monitoring", name)
					delete(scraped, name)
				}
			}
			for _, v := range s.Volumes {
				if v.Type == "bind" && !strings.Contains(v.Source, "observability") {
					require.FileExists(t, firstFile(t, v.Source), "%s mounts it", name)
				}
			}
		}
		require.Empty(t, scraped, "Prometheus looks for what does not listen")
		require.Equal(t, 2, *project.Services["dispatcher"].Deploy.Replicas)
		for _, want := range []string{"postgres", "nats-0", "nats-1", "nats-2", "publisher", "ingest", "api", "prometheus", "grafana"} {
			require.Contains(t, project.Services, want)
		}
		separated(t, project)
		return nil
	}
	require.NoError(t, load(secrets))
	require.ErrorContains(t, load(nil), "secrets.sh", "without passwords nothing starts")
}

// separated checks what each service of Compose reaches: routes of NATS are on a network of their own with a
// certificate for each server, no server has the authority's key, and an edge reaches no database.
func separated(t *testing.T, project *types.Project) {
	t.Helper()
	certificates := project.Services["certificates"]
	require.Equal(t, "none", certificates.NetworkMode)
	made := map[string]string{} // the volume of each host's certificate
	for _, v := range certificates.Volumes {
		if v.Type == "volume" {
			made[strings.TrimPrefix(v.Target, "/certificates")] = v.Source
		}
	}
	for name, s := range project.Services {
		if name == "certificates" {
			continue
		}
		mounted := map[string]string{}
		for _, v := range s.Volumes {
			require.NotEqual(t, made[""], v.Source, "%s has the key of the authority", name)
			mounted[v.Target] = v.Source
		}
		if !strings.HasPrefix(name, "nats-") {
			require.NotContains(t, s.Networks, "routes", name)
			continue
		}
		host := name + "-route"
		require.Equal(t, types.ServiceDependency{Condition: "service_completed_successfully", Required: true}, s.DependsOn["certificates"], name)
		require.Contains(t, certificates.Command, host)
		require.Equal(t, made["/"+host], mounted["/etc/nats-tls"], name)
		require.Equal(t, []string{host}, s.Networks["routes"].Aliases, name)
		require.Equal(t, host+":6222", *s.Environment["FANMAIL_NATS_ROUTE_LISTEN"], "%s: no other network reaches its routes", name)
		require.Contains(t, *s.Environment["FANMAIL_NATS_ROUTES"], "@"+host+":6222", name)
		require.Equal(t, "/etc/nats-tls/ca.crt", *s.Environment["FANMAIL_NATS_ROUTE_CA"], name)
	}
	require.True(t, project.Networks["routes"].Internal)
	require.True(t, project.Networks["edge"].Internal)
	require.NotContains(t, project.Services["edge"].Networks, "data", "an edge reaches no database")
	require.NotContains(t, project.Services["edge"].Environment, "FANMAIL_DATABASE_URL")
	require.NotContains(t, project.Services["postgres"].Networks, "edge")
}

// targets are the addresses that deploy/observability/prometheus.yml scrapes, by service. A job is
// named after its service.
func targets(t *testing.T) map[string]string {
	t.Helper()
	b, err := os.ReadFile("../../deploy/observability/prometheus.yml")
	require.NoError(t, err)
	var file struct {
		ScrapeConfigs []struct {
			JobName      string `json:"job_name"`
			DNSSDConfigs []struct {
				Names []string
				Port  int
			} `json:"dns_sd_configs"`
		} `json:"scrape_configs"`
	}
	require.NoError(t, yaml.Unmarshal(b, &file))
	found := map[string]string{}
	for _, s := range file.ScrapeConfigs {
		service := s.DNSSDConfigs[0].Names[0]
		require.Equal(t, "fanmail-"+service, s.JobName)
		found[service] = fmt.Sprintf(":%d", s.DNSSDConfigs[0].Port)
	}
	return found
}

// firstFile is path, or a file in it.
func firstFile(t *testing.T, path string) string {
	t.Helper()
	inside, err := filepath.Glob(filepath.Join(path, "*"))
	require.NoError(t, err)
	if len(inside) > 0 {
		return inside[0]
	}
	return path
}

// TestKoBuildsAsTheImageDoes compares .ko.yaml with deploy/build.sh.
func TestKoBuildsAsTheImageDoes(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("../../.ko.yaml")
	require.NoError(t, err)
	var ko struct {
		Builds []struct {
			ID, Main       string
			Env, Flags     []string
			Ldflags        []string
			DefaultBaseImg string
		}
	}
	require.NoError(t, yaml.Unmarshal(b, &ko))
	script, err := os.ReadFile("../../deploy/build.sh")
	require.NoError(t, err)
	var stamps []string
	for _, stamp := range regexp.MustCompile(`-X (\S+)=\$\{?([A-Z]+)`).FindAllStringSubmatch(string(script), -1) {
		stamps = append(stamps, "-X "+stamp[1]+"={{.Env."+stamp[2]+"}}")
	}
	require.Len(t, stamps, 2, "the commit and the version")
	require.Len(t, ko.Builds, 5)
	for _, build := range ko.Builds {
		require.Contains(t, string(script), " "+build.Main)
		require.DirExists(t, filepath.Join("../..", build.Main))
		require.Equal(t, []string{"CGO_ENABLED=0"}, build.Env)
		for _, f := range append(build.Flags, build.Ldflags[:3]...) {
			require.Contains(t, string(script), f)
		}
		require.Equal(t, strings.Join(stamps, " "), build.Ldflags[3])
	}
}
