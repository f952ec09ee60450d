package main

import (
	"encoding/json"
	"reflect"
	"sort"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// place is a field of a definition.
type place struct{ Definition, Field string }

// observation is what defaulting did to one field at one path of one kind.
type observation struct {
	kind, path string
	// chosen and choice: the field beside it that was set to one of its enumerated values, and which; empty in an
	// object with nothing but the way to the place, or with everything.
	chosen, choice string
	value          string
}

// Rule is a default that holds wherever its definition occurs.
type Rule struct {
	Field string          `json:"field"`
	Value json.RawMessage `json:"value"`
	// When and Is: the rule holds only while the field When beside it has one of these values.
	When string   `json:"when,omitempty"`
	Is   []string `json:"is,omitempty"`
}

// KindRule is a default that holds at one path of one kind.
type KindRule struct {
	Definition string          `json:"definition"`
	Path       []string        `json:"path"`
	Value      json.RawMessage `json:"value"`
}

// defaultWalk runs the server's defaulting functions over objects of every shape and watches what they fill in.
//
// Each place is seen in an object that has nothing but the way to it, in one that has every sub-object, in one for
// each of its neighbours that is an object, and in one for each value of each of its enumerated neighbours.
type defaultWalk struct {
	scheme *runtime.Scheme
	enums  map[string]map[string][]string
	seen   map[place][]observation
	roots  map[string]string
}

func (w *defaultWalk) observe(kind schema.GroupVersionKind, object runtime.Object) {
	root := reflect.TypeOf(object).Elem()
	name := kind.String()
	w.roots[name] = definition(root)

	full := object.DeepCopyObject()
	fill(reflect.ValueOf(full).Elem(), nil)
	w.compare(name, full, nil, observation{}, true)

	for _, path := range paths(root, nil, nil) {
		sparse := object.DeepCopyObject()
		target := descend(reflect.ValueOf(sparse).Elem(), path)
		w.compare(name, sparse, path, observation{}, false)

		for _, sibling := range fields(target.Type()) {
			if sibling.kind.Kind() == reflect.Pointer && sibling.kind.Elem().Kind() == reflect.Struct {
				variant := object.DeepCopyObject()
				descend(reflect.ValueOf(variant).Elem(), append(append([]string{}, path...), sibling.name))
				w.compare(name, variant, path, observation{}, false)
			}
			for _, choice := range w.enums[definition(target.Type())][sibling.name] {
				variant := object.DeepCopyObject()
				place := descendOne(descend(reflect.ValueOf(variant).Elem(), path).FieldByIndex(sibling.index))
				if place.Kind() != reflect.String {
					continue
				}
				place.SetString(choice)
				w.compare(name, variant, path, observation{chosen: sibling.name, choice: choice}, false)
			}
		}
	}
}

// compare defaults an object and notes what became of the fields that were empty: everywhere, or at one path.
func (w *defaultWalk) compare(kind string, object runtime.Object, at []string, variant observation, everywhere bool) {
	defaulted := object.DeepCopyObject()
	w.scheme.Default(defaulted)
	before, after := reflect.ValueOf(object).Elem(), reflect.ValueOf(defaulted).Elem()
	variant.kind = kind
	if everywhere {
		w.note(variant, nil, before, after, true)
		return
	}
	w.note(variant, at, descend(before, at), descend(after, at), false)
}

func (w *defaultWalk) note(variant observation, path []string, before, after reflect.Value, deep bool) {
	for before.Kind() == reflect.Pointer {
		if before.IsNil() || after.IsNil() {
			return
		}
		before, after = before.Elem(), after.Elem()
	}
	switch before.Kind() {
	case reflect.Slice:
		for i := 0; i < before.Len() && i < after.Len(); i++ {
			w.note(variant, path, before.Index(i), after.Index(i), deep)
		}
	case reflect.Struct:
		if opaque(before.Type()) {
			return
		}
		for _, one := range fields(before.Type()) {
			was, is := before.FieldByIndex(one.index), after.FieldByIndex(one.index)
			here := append(append([]string{}, path...), one.name)
			// A struct that is no pointer is always there; what is in it has rules of its own.
			inline := one.kind.Kind() == reflect.Struct && !opaque(one.kind)
			if !inline && empty(was) {
				variant.path, variant.value = strings.Join(here, "/"), ""
				if !empty(is) {
					text, err := json.Marshal(is.Interface())
					if err != nil {
						panic(err)
					}
					variant.value = string(text)
				}
				key := place{definition(before.Type()), one.name}
				w.seen[key] = append(w.seen[key], variant)
			} else if deep && element(one.kind).Kind() == reflect.Struct && one.kind.Kind() != reflect.Map {
				w.note(variant, here, was, is, deep)
			}
		}
	}
}

// empty tells whether nothing was said.
func empty(value reflect.Value) bool {
	switch value.Kind() {
	case reflect.Slice, reflect.Map:
		return value.Len() == 0
	default:
		return value.IsZero()
	}
}

// conclude tells the rules of a definition from those of a kind and from what neither can express.
func (w *defaultWalk) conclude() (map[string][]Rule, []KindRule, []string) {
	rules := map[string][]Rule{}
	var kindRules []KindRule
	var residue []string
	for key, observations := range w.seen {
		if one, ok := conclude(key.Field, observations); ok {
			if len(one) > 0 && !momentary(one[0].Value) {
				rules[key.Definition] = append(rules[key.Definition], one...)
			}
			continue
		}
		byPath := map[[2]string][]observation{}
		for _, one := range observations {
			at := [2]string{w.roots[one.kind], one.path}
			byPath[at] = append(byPath[at], one)
		}
		for at, observations := range byPath {
			found, ok := conclude(key.Field, observations)
			if !ok || len(found) > 1 || len(found) == 1 && found[0].When != "" {
				residue = append(residue, at[0]+"/"+at[1])
				continue
			}
			for _, one := range found {
				kindRules = append(kindRules, KindRule{at[0], strings.Split(at[1], "/"), one.Value})
			}
		}
	}
	for _, list := range rules {
		sort.Slice(list, func(i, j int) bool { return list[i].Field+list[i].When < list[j].Field+list[j].When })
	}
	sort.Slice(kindRules, func(i, j int) bool {
		left, right := kindRules[i], kindRules[j]
		return left.Definition+strings.Join(left.Path, "/") < right.Definition+strings.Join(right.Path, "/")
	})
	sort.Strings(residue)
	return rules, kindRules, residue
}

// momentary tells a default that is the time of the request: no rule can say it.
func momentary(value json.RawMessage) bool {
	var at metav1.Time
	return json.Unmarshal(value, &at) == nil && time.Since(at.Time) < time.Hour
}

// conclude finds the rules that explain all observations of one field, if there are any.
func conclude(field string, observations []observation) ([]Rule, bool) {
	plain := map[string]bool{}
	choices := map[string]map[string]map[string]bool{}
	for _, one := range observations {
		if one.chosen == "" {
			plain[one.value] = true
			continue
		}
		if choices[one.chosen] == nil {
			choices[one.chosen] = map[string]map[string]bool{}
		}
		if choices[one.chosen][one.choice] == nil {
			choices[one.chosen][one.choice] = map[string]bool{}
		}
		choices[one.chosen][one.choice][one.value] = true
	}
	if len(plain) > 1 {
		return nil, false
	}
	base := ""
	for value := range plain {
		base = value
	}
	var rules []Rule
	chance := false
	for chosen, byChoice := range choices {
		byValue := map[string][]string{}
		for choice, values := range byChoice {
			if len(values) > 1 {
				return nil, false
			}
			for value := range values {
				byValue[value] = append(byValue[value], choice)
			}
		}
		if len(byValue) == 1 && byValue[base] != nil {
			continue
		}
		chance = true
		for value, is := range byValue {
			if value != "" {
				sort.Strings(is)
				rules = append(rules, Rule{field, json.RawMessage(value), chosen, is})
			}
		}
	}
	if len(rules) == 0 && chance {
		return nil, false // filled in only while a neighbour is not chosen
	}
	if len(rules) == 0 && base != "" {
		rules = append(rules, Rule{Field: field, Value: json.RawMessage(base)})
	}
	return rules, true
}

// fill makes every sub-object, and one item in every list of objects.
func fill(value reflect.Value, above []reflect.Type) {
	for _, one := range structFields(value.Type(), above) {
		fill(descendOne(value.FieldByIndex(one.index)), append(above, value.Type()))
	}
}

// structFields lists the fields that hold structs of ours, save where a type would contain itself. A map's values
// cannot be set in place, and none of them holds a default of its own.
func structFields(t reflect.Type, above []reflect.Type) []field {
	var out []field
	for _, one := range fields(t) {
		target := element(one.kind)
		if target.Kind() != reflect.Struct || opaque(target) || one.kind.Kind() == reflect.Map || target == t || contains(above, target) {
			continue
		}
		out = append(out, one)
	}
	return out
}

func contains(types []reflect.Type, one reflect.Type) bool {
	for _, other := range types {
		if other == one {
			return true
		}
	}
	return false
}

// paths lists the ways to all structs within a type.
func paths(t reflect.Type, prefix []string, above []reflect.Type) [][]string {
	out := [][]string{append([]string{}, prefix...)}
	for _, one := range structFields(t, above) {
		out = append(out, paths(element(one.kind), append(prefix, one.name), append(above, t))...)
	}
	return out
}

// descend goes along a path, making what is not there.
func descend(value reflect.Value, path []string) reflect.Value {
	for _, name := range path {
		found := false
		for _, one := range fields(value.Type()) {
			if one.name == name {
				value, found = descendOne(value.FieldByIndex(one.index)), true
				break
			}
		}
		if !found {
			panic("no field " + name)
		}
	}
	return value
}

// descendOne goes into a field, making the pointer or the list's one item.
func descendOne(value reflect.Value) reflect.Value {
	for {
		switch value.Kind() {
		case reflect.Pointer:
			if value.IsNil() {
				value.Set(reflect.New(value.Type().Elem()))
			}
			value = value.Elem()
		case reflect.Slice:
			if value.Len() == 0 {
				value.Set(reflect.MakeSlice(value.Type(), 1, 1))
			}
			value = value.Index(0)
		default:
			return value
		}
	}
}
