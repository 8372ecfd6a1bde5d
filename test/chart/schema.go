package chart

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"sigs.k8s.io/yaml"
)

// The modules whose files the schemas are made from. No code of the last two is compiled: they are
// data, so they are named here and not in go.mod. The checksum database verifies them.
const (
	kubernetes = "k8s.io/kubernetes"
	keda       = "github.com/kedacore/keda/v2@v2.21.0"
	operator   = "github.com/prometheus-operator/prometheus-operator@v0.85.0"
)

// Location is where kubeconform finds the schemas of [Schemas] below dir.
func Location(dir string) string {
	return filepath.Join(dir, "{{.Group}}-{{.ResourceKind}}-{{.ResourceAPIVersion}}.json")
}

// Schemas writes a JSON schema for each kind of object into dir. Kubernetes's come from its OpenAPI
// document, KEDA's and the Prometheus operator's from their CustomResourceDefinitions, and others from
// the definitions in given. The schemas refuse unknown fields.
func Schemas(ctx context.Context, dir string, given ...string) error {
	root, err := module(ctx, kubernetes)
	if err != nil {
		return err
	}
	if err := fromOpenAPI(filepath.Join(root, "api/openapi-spec/swagger.json"), dir); err != nil {
		return err
	}
	for _, d := range []struct{ at, pattern string }{
		{keda, "config/crd/bases/keda.sh_*.yaml"},
		{operator, "example/prometheus-operator-crd/*_servicemonitors.yaml"},
		{operator, "example/prometheus-operator-crd/*_prometheusrules.yaml"},
	} {
		if root, err = module(ctx, d.at); err != nil {
			return err
		}
		files, err := filepath.Glob(filepath.Join(root, d.pattern))
		if err != nil || len(files) == 0 {
			return fmt.Errorf("%s has no %s: %w", d.at, d.pattern, err)
		}
		given = append(given, files...)
	}
	for _, file := range given {
		if err := fromDefinitions(file, dir); err != nil {
			return err
		}
	}
	return nil
}

// module returns the directory of a module's files, and downloads it if necessary.
func module(ctx context.Context, at string) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "mod", "download", "-json", at).Output() //nolint:gosec // constants above
	var got struct{ Dir, Error string }
	if jsonErr := json.Unmarshal(out, &got); jsonErr != nil || got.Error != "" || got.Dir == "" {
		return "", fmt.Errorf("download %s: %w %s", at, err, got.Error)
	}
	return got.Dir, nil
}

type gvk struct{ Group, Version, Kind string }

// file is the name by which kubeconform looks for the schema.
func (k gvk) file(dir string) string {
	group := k.Group
	if group == "" {
		group = k.Version
	}
	return filepath.Join(dir, fmt.Sprintf("%s-%s-%s.json", group, strings.ToLower(k.Kind), k.Version))
}

func (k gvk) apiVersion() string {
	if k.Group == "" {
		return k.Version
	}
	return k.Group + "/" + k.Version
}

const refPrefix = "#/definitions/"

func fromOpenAPI(file, dir string) error {
	b, err := os.ReadFile(file) //nolint:gosec // out of a module
	if err != nil {
		return fmt.Errorf("read Kubernetes's OpenAPI document: %w", err)
	}
	var doc struct {
		Definitions map[string]map[string]any
	}
	if err := json.Unmarshal(b, &doc); err != nil {
		return fmt.Errorf("read Kubernetes's OpenAPI document: %w", err)
	}
	for name, d := range doc.Definitions {
		switch {
		case strings.HasSuffix(name, ".intstr.IntOrString"):
			doc.Definitions[name] = map[string]any{"type": []any{"string", "integer"}}
		case strings.HasSuffix(name, ".resource.Quantity"):
			doc.Definitions[name] = map[string]any{"type": []any{"string", "number"}}
		case strings.HasSuffix(name, ".JSONSchemaProps"):
		default:
			strict(d)
		}
	}
	for name, d := range doc.Definitions {
		kinds, _ := d["x-kubernetes-group-version-kind"].([]any)
		if len(kinds) != 1 {
			continue // a type that several groups share is no object
		}
		k := kinds[0].(map[string]any)
		of := gvk{k["group"].(string), k["version"].(string), k["kind"].(string)}
		needed := map[string]any{}
		gather(doc.Definitions, name, needed)
		top := map[string]any{"$schema": "http://json-schema.org/draft-07/schema#", "allOf": []any{
			map[string]any{"$ref": refPrefix + name}, identity(of),
		}, "definitions": needed}
		if err := write(of.file(dir), top); err != nil {
			return err
		}
	}
	return nil
}

// identity requires the fields that identify an object.
func identity(k gvk) map[string]any {
	return map[string]any{
		"type": "object", "required": []any{"apiVersion", "kind", "metadata"},
		"properties": map[string]any{
			"apiVersion": map[string]any{"const": k.apiVersion()}, "kind": map[string]any{"const": k.Kind},
		},
	}
}

// gather copies a definition and all that it refers to.
func gather(all map[string]map[string]any, name string, into map[string]any) {
	if _, done := into[name]; done {
		return
	}
	into[name] = all[name]
	walk(all[name], func(node map[string]any) {
		if ref, ok := node["$ref"].(string); ok {
			gather(all, strings.TrimPrefix(ref, refPrefix), into)
		}
	})
}

// fromDefinitions reads CustomResourceDefinitions.
func fromDefinitions(file, dir string) error {
	b, err := os.ReadFile(file) //nolint:gosec // out of a module, or ours
	if err != nil {
		return fmt.Errorf("read a definition: %w", err)
	}
	for doc := range strings.SplitSeq("\n"+string(b), "\n---") {
		var crd struct {
			Spec struct {
				Group    string
				Names    struct{ Kind string }
				Versions []struct {
					Name   string
					Schema struct {
						OpenAPIV3Schema map[string]any `json:"openAPIV3Schema"`
					}
				}
			}
		}
		if err := yaml.Unmarshal([]byte(doc), &crd); err != nil {
			return fmt.Errorf("read %s: %w", file, err)
		}
		for _, v := range crd.Spec.Versions {
			of := gvk{crd.Spec.Group, v.Name, crd.Spec.Names.Kind}
			schema := v.Schema.OpenAPIV3Schema
			// A definition leaves these to the server.
			properties := schema["properties"].(map[string]any)
			for _, own := range []string{"apiVersion", "kind", "metadata"} {
				properties[own] = map[string]any{}
			}
			walk(schema, strict)
			top := map[string]any{"$schema": "http://json-schema.org/draft-07/schema#", "allOf": []any{schema, identity(of)}}
			if err := write(of.file(dir), top); err != nil {
				return err
			}
		}
	}
	return nil
}

// strict refuses fields that an object's schema does not name.
func strict(node map[string]any) {
	if node["x-kubernetes-int-or-string"] == true {
		delete(node, "anyOf")
		node["type"] = []any{"string", "integer"}
	}
	_, named := node["properties"].(map[string]any)
	_, said := node["additionalProperties"]
	if named && !said && node["x-kubernetes-preserve-unknown-fields"] != true {
		node["additionalProperties"] = false
	}
}

// walk visits every object of a schema.
func walk(node any, visit func(map[string]any)) {
	switch n := node.(type) {
	case map[string]any:
		visit(n)
		for key, child := range n {
			if key != "enum" && key != "default" {
				walk(child, visit)
			}
		}
	case []any:
		for _, child := range n {
			walk(child, visit)
		}
	}
}

func write(path string, schema any) error {
	b, err := json.Marshal(schema)
	if err != nil {
		return fmt.Errorf("write a schema: %w", err)
	}
	return os.WriteFile(path, b, 0o600)
}
