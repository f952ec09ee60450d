// Prints, as JSON, how Kubernetes' Go types are numbered on the wire: for every message the number, JSON name, type and
// shape of each field, from the `protobuf` and `json` tags of the types themselves.
//
// To renew messages.json.zst, in an empty folder:
//
//	cp <this file> main.go && go mod init extract
//	go get k8s.io/client-go@v0.37.2 k8s.io/apiextensions-apiserver@v0.37.2 k8s.io/kube-aggregator@v0.37.2
//	go run . | zstd -19 > messages.json.zst
package main

import (
	"encoding/json"
	"os"
	"reflect"
	"strconv"
	"strings"

	apiextensions "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	apiregistration "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
)

// A field: number, JSON name ("" for one whose fields are its holder's), type, flags (r repeated, m map, p pointer, o omitted when empty).
type field [4]any

var messages = map[string][]field{}

func name(of reflect.Type) string { return of.PkgPath() + "." + of.Name() }

// special types have an encoding of their own and are not walked.
var special = map[string]string{
	"k8s.io/apimachinery/pkg/apis/meta/v1.Time":                                             "time",
	"k8s.io/apimachinery/pkg/apis/meta/v1.MicroTime":                                        "microtime",
	"k8s.io/apimachinery/pkg/apis/meta/v1.FieldsV1":                                         "raw",
	"k8s.io/apimachinery/pkg/api/resource.Quantity":                                         "quantity",
	"k8s.io/apimachinery/pkg/util/intstr.IntOrString":                                       "intorstring",
	"k8s.io/apimachinery/pkg/runtime.RawExtension":                                          "raw",
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1.JSON":                         "raw",
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1.JSONSchemaPropsOrBool":        "schemaorbool",
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1.JSONSchemaPropsOrArray":       "schemaorarray",
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1.JSONSchemaPropsOrStringArray": "schemaorstrings",
}

func typeOf(of reflect.Type) string {
	if known, ok := special[name(of)]; ok {
		return known
	}
	switch of.Kind() {
	case reflect.String:
		return "string"
	case reflect.Bool:
		return "bool"
	case reflect.Int32, reflect.Int64, reflect.Int:
		return "int"
	case reflect.Uint8:
		return "byte"
	case reflect.Float64:
		return "double"
	case reflect.Struct:
		walk(of)
		return name(of)
	case reflect.Slice:
		// A named list (such as Verbs) is a message that holds its items.
		if of.Elem().Kind() == reflect.Uint8 {
			return "bytes"
		}
		return "items:" + typeOf(of.Elem())
	}
	panic("no encoding for " + of.String())
}

func walk(of reflect.Type) {
	if _, done := messages[name(of)]; done {
		return
	}
	messages[name(of)] = []field{}
	fields := []field{}
	for i := 0; i < of.NumField(); i++ {
		one := of.Field(i)
		tag := one.Tag.Get("protobuf")
		if tag == "" || tag == "-" {
			continue
		}
		number, err := strconv.Atoi(strings.Split(tag, ",")[1])
		if err != nil {
			panic(err)
		}
		parts := strings.Split(one.Tag.Get("json"), ",")
		flags := ""
		kind := one.Type
		if kind.Kind() == reflect.Pointer {
			flags += "p"
			kind = kind.Elem()
		}
		rest := strings.Join(parts[1:], ",")
		if strings.Contains(rest, "omitempty") || strings.Contains(rest, "omitzero") {
			flags += "o"
		}
		switch {
		case special[name(kind)] != "":
		case kind.Kind() == reflect.Map:
			flags += "m"
			kind = kind.Elem()
		case kind.Kind() == reflect.Slice && kind.Elem().Kind() != reflect.Uint8 && kind.Name() == "":
			flags += "r"
			kind = kind.Elem()
			if kind.Kind() == reflect.Pointer {
				kind = kind.Elem()
			}
		case kind.Kind() == reflect.Slice && kind.Elem().Kind() != reflect.Uint8 && strings.Contains(tag, ",rep,"):
			flags += "r"
			kind = kind.Elem()
		}
		fields = append(fields, field{number, parts[0], typeOf(kind), flags})
	}
	messages[name(of)] = fields
}

func main() {
	kinds := map[string]string{}
	all := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{scheme.AddToScheme, apiextensions.AddToScheme, apiregistration.AddToScheme} {
		if err := add(all); err != nil {
			panic(err)
		}
	}
	for gvk, of := range all.AllKnownTypes() {
		stable := !strings.Contains(gvk.Version, "alpha") && !strings.Contains(gvk.Version, "beta")
		if gvk.Version == runtime.APIVersionInternal || !stable || gvk.Kind == "WatchEvent" || strings.HasSuffix(gvk.Kind, "List") {
			continue
		}
		if strings.HasSuffix(gvk.Kind, "Options") && gvk.Kind != "DeleteOptions" {
			continue
		}
		version, kind := gvk.ToAPIVersionAndKind()
		walk(of)
		kinds[version+"/"+kind] = name(of)
	}
	options := reflect.TypeOf(metav1.DeleteOptions{})
	walk(options)
	kinds["meta.k8s.io/v1/DeleteOptions"] = name(options)
	if err := json.NewEncoder(os.Stdout).Encode(map[string]any{"messages": messages, "kinds": kinds}); err != nil {
		panic(err)
	}
}
