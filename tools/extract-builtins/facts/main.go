// Command facts prints what OpenAPI does not say about Kubernetes' built-in kinds: how Go writes each field as JSON,
// and which defaults the API server's own functions fill in.
//
// It reads a Question as JSON from standard input and writes Facts as JSON to standard output.
package main

import (
	"encoding/json"
	"os"
	"reflect"
	"strings"

	apiextensions "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/install"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apiregistration "k8s.io/kube-aggregator/pkg/apis/apiregistration/install"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	_ "k8s.io/kubernetes/pkg/apis/admissionregistration/install"
	_ "k8s.io/kubernetes/pkg/apis/apps/install"
	_ "k8s.io/kubernetes/pkg/apis/authentication/install"
	_ "k8s.io/kubernetes/pkg/apis/authorization/install"
	_ "k8s.io/kubernetes/pkg/apis/autoscaling/install"
	_ "k8s.io/kubernetes/pkg/apis/batch/install"
	_ "k8s.io/kubernetes/pkg/apis/certificates/install"
	_ "k8s.io/kubernetes/pkg/apis/coordination/install"
	_ "k8s.io/kubernetes/pkg/apis/core/install"
	_ "k8s.io/kubernetes/pkg/apis/discovery/install"
	_ "k8s.io/kubernetes/pkg/apis/events/install"
	_ "k8s.io/kubernetes/pkg/apis/flowcontrol/install"
	_ "k8s.io/kubernetes/pkg/apis/networking/install"
	_ "k8s.io/kubernetes/pkg/apis/node/install"
	_ "k8s.io/kubernetes/pkg/apis/policy/install"
	_ "k8s.io/kubernetes/pkg/apis/rbac/install"
	_ "k8s.io/kubernetes/pkg/apis/resource/install"
	_ "k8s.io/kubernetes/pkg/apis/scheduling/install"
	_ "k8s.io/kubernetes/pkg/apis/storage/install"
	_ "k8s.io/kubernetes/pkg/apis/storagemigration/install"
)

// Question is the input.
type Question struct {
	// Kinds are those to look at.
	Kinds []schema.GroupVersionKind `json:"kinds"`
	// Enums are the values that OpenAPI enumerates, by definition and field.
	Enums map[string]map[string][]string `json:"enums"`
}

// Facts is the output.
type Facts struct {
	// Wire says, by definition and field, how Go writes a field that holds its zero value; a field that is missing
	// here is written as it was sent.
	Wire map[string]map[string]Wire `json:"wire"`
	// Types says, by definition and field, the Go type, which messages about malformed values name.
	Types map[string]map[string]string `json:"types"`
	// Defaults says, by definition, what is filled in wherever that definition occurs.
	Defaults map[string][]Rule `json:"defaults"`
	// KindDefaults says what is filled in at one path of one kind only.
	KindDefaults []KindRule `json:"kindDefaults"`
	// Residue lists the paths whose defaults depend on more than the rules above can say.
	Residue []string `json:"residue"`
}

// Wire is one field's rule: left out when it holds its zero value, or always there.
type Wire struct {
	Omit bool            `json:"omit,omitempty"`
	Zero json.RawMessage `json:"zero"`
}

func main() {
	var question Question
	if err := json.NewDecoder(os.Stdin).Decode(&question); err != nil {
		panic(err)
	}
	scheme := legacyscheme.Scheme
	apiextensions.Install(scheme)
	apiregistration.Install(scheme)

	wires := wireWalk{map[string]map[string]Wire{}, map[string]map[string]string{}}
	defaults := defaultWalk{scheme, question.Enums, map[place][]observation{}, map[string]string{}}
	for _, kind := range question.Kinds {
		object, err := scheme.New(kind)
		if err != nil {
			panic(err)
		}
		wires.visit(reflect.TypeOf(object).Elem())
		defaults.observe(kind, object)
	}
	facts := Facts{Wire: wires.rules, Types: wires.types}
	facts.Defaults, facts.KindDefaults, facts.Residue = defaults.conclude()
	encoder := json.NewEncoder(os.Stdout)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(facts); err != nil {
		panic(err)
	}
}

// definition is the name of a type in OpenAPI documents.
func definition(t reflect.Type) string {
	parts := strings.Split(t.PkgPath(), "/")
	host := strings.Split(parts[0], ".")
	for left, right := 0, len(host)-1; left < right; left, right = left+1, right-1 {
		host[left], host[right] = host[right], host[left]
	}
	parts[0] = strings.Join(host, ".")
	return strings.Join(append(parts, t.Name()), ".")
}

// field is one JSON field of a struct.
type field struct {
	name      string
	index     []int
	kind      reflect.Type
	omitEmpty bool
	omitZero  bool
}

// fields lists a struct's JSON fields, those of embedded structs included.
func fields(t reflect.Type) []field {
	var out []field
	for i := 0; i < t.NumField(); i++ {
		one := t.Field(i)
		parts := strings.Split(one.Tag.Get("json"), ",")
		if parts[0] == "-" || !one.IsExported() {
			continue
		}
		if one.Anonymous && parts[0] == "" {
			for _, inner := range fields(one.Type) {
				inner.index = append([]int{i}, inner.index...)
				out = append(out, inner)
			}
			continue
		}
		found := field{name: parts[0], index: []int{i}, kind: one.Type}
		for _, option := range parts[1:] {
			found.omitEmpty = found.omitEmpty || option == "omitempty"
			found.omitZero = found.omitZero || option == "omitzero"
		}
		out = append(out, found)
	}
	return out
}

// opaque tells a type with a JSON form of its own: nothing in it is a field of ours.
func opaque(t reflect.Type) bool {
	marshaler := reflect.TypeOf((*json.Marshaler)(nil)).Elem()
	return t.Implements(marshaler) || reflect.PointerTo(t).Implements(marshaler) || t == reflect.TypeOf(runtime.RawExtension{})
}

// element is the type that a pointer, slice or map leads to.
func element(t reflect.Type) reflect.Type {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice || t.Kind() == reflect.Map {
		t = t.Elem()
	}
	return t
}

type wireWalk struct {
	rules map[string]map[string]Wire
	types map[string]map[string]string
}

func (w *wireWalk) visit(t reflect.Type) {
	if t.Kind() != reflect.Struct || opaque(t) {
		return
	}
	name := definition(t)
	if _, done := w.rules[name]; done {
		return
	}
	rules, types := map[string]Wire{}, map[string]string{}
	w.rules[name], w.types[name] = rules, types
	for _, one := range fields(t) {
		types[one.name] = strings.TrimPrefix(one.kind.String(), "*")
		kind := one.kind.Kind()
		omitted := one.omitZero || one.omitEmpty && kind != reflect.Struct
		if kind != reflect.Pointer && kind != reflect.Interface || !omitted {
			zero, err := json.Marshal(reflect.New(one.kind).Elem().Interface())
			if err != nil {
				panic(err)
			}
			rules[one.name] = Wire{omitted, zero}
		}
		w.visit(element(one.kind))
	}
}
