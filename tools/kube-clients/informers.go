package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	shared "k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/pager"
	"k8s.io/client-go/util/workqueue"
)

// history is what handlers were told of each object, in order.
type history struct {
	lock sync.Mutex
	of   map[string][]string
}

func (h *history) add(name, event string) {
	h.lock.Lock()
	defer h.lock.Unlock()
	if h.of == nil {
		h.of = map[string][]string{}
	}
	// A resync comes again and again.
	told := h.of[name]
	if len(told) == 0 || told[len(told)-1] != event {
		h.of[name] = append(told, event)
	}
}

func (h *history) last(name string) string {
	h.lock.Lock()
	defer h.lock.Unlock()
	told := h.of[name]
	if len(told) == 0 {
		return ""
	}
	return told[len(told)-1]
}

// informers: a shared informer with a resync, whose handlers feed a work queue; the worker reads through the lister.
func informers(ctx context.Context, _ *rest.Config, clients kubernetes.Interface, namespace string) (any, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	maps := clients.CoreV1().ConfigMaps(namespace)
	for number := range 30 {
		if _, err := maps.Create(ctx, configMap(fmt.Sprintf("early-%02d", number), "1"), metav1.CreateOptions{}); err != nil {
			return nil, err
		}
	}
	factory := shared.NewSharedInformerFactoryWithOptions(clients, 500*time.Millisecond,
		shared.WithNamespace(namespace),
		shared.WithTweakListOptions(func(options *metav1.ListOptions) { options.LabelSelector = "app=clients" }))
	informer := factory.Core().V1().ConfigMaps()
	queue := workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[string]())
	seen := &history{}
	value := func(object any) string { return object.(*corev1.ConfigMap).Data["value"] }
	name := func(object any) string {
		key, _ := cache.DeletionHandlingMetaNamespaceKeyFunc(object)
		_, name, _ := cache.SplitMetaNamespaceKey(key)
		return name
	}
	_, err := informer.Informer().AddEventHandler(cache.ResourceEventHandlerDetailedFuncs{
		AddFunc: func(object any, initial bool) {
			seen.add(name(object), fmt.Sprintf("added %s, initial %t", value(object), initial))
			queue.Add(name(object))
		},
		UpdateFunc: func(before, after any) {
			if before.(*corev1.ConfigMap).ResourceVersion == after.(*corev1.ConfigMap).ResourceVersion {
				seen.add(name(after), "resynced "+value(after))
				return
			}
			seen.add(name(after), fmt.Sprintf("updated %s to %s", value(before), value(after)))
			queue.Add(name(after))
		},
		DeleteFunc: func(object any) {
			seen.add(name(object), "deleted "+value(object))
			queue.Add(name(object))
		},
	})
	if err != nil {
		return nil, err
	}
	worked := &history{}
	go func() {
		for {
			key, stopped := queue.Get()
			if stopped {
				return
			}
			live, err := informer.Lister().ConfigMaps(namespace).Get(key)
			switch {
			case apierrors.IsNotFound(err):
				worked.add(key, "gone")
			case err != nil:
				worked.add(key, err.Error())
			default:
				worked.add(key, live.Data["value"])
			}
			queue.Forget(key)
			queue.Done(key)
		}
	}()
	defer queue.ShutDown()
	factory.Start(ctx.Done())
	for kind, synced := range factory.WaitForCacheSync(ctx.Done()) {
		if !synced {
			return nil, fmt.Errorf("the cache of %s does not fill", kind)
		}
	}
	initial, err := informer.Lister().List(labels.Everything())
	if err != nil {
		return nil, err
	}
	became := func(name, event string) error {
		return until(ctx, name+": "+event, func() (bool, error) { return seen.last(name) == event, nil })
	}
	late, err := maps.Create(ctx, configMap("late", "1"), metav1.CreateOptions{})
	if err != nil {
		return nil, err
	}
	if err := became("late", "resynced 1"); err != nil {
		return nil, err
	}
	late.Data["value"] = "2"
	if late, err = maps.Update(ctx, late, metav1.UpdateOptions{}); err != nil {
		return nil, err
	}
	if err := became("late", "resynced 2"); err != nil {
		return nil, err
	}
	if err := maps.Delete(ctx, "early-00", metav1.DeleteOptions{}); err != nil {
		return nil, err
	}
	if err := became("early-00", "deleted 1"); err != nil {
		return nil, err
	}
	// An object that the selector no longer takes is gone for the informer, with the state it had.
	late.Labels = map[string]string{"app": "other"}
	late.Data["value"] = "3"
	if _, err = maps.Update(ctx, late, metav1.UpdateOptions{}); err != nil {
		return nil, err
	}
	if err := became("late", "deleted 2"); err != nil {
		return nil, err
	}
	if err := until(ctx, "the worker", func() (bool, error) {
		return worked.last("late") == "gone" && worked.last("early-00") == "gone", nil
	}); err != nil {
		return nil, err
	}
	seen.lock.Lock()
	defer seen.lock.Unlock()
	worked.lock.Lock()
	defer worked.lock.Unlock()
	return map[string]any{
		"initial": len(initial), "late": seen.of["late"], "worked": worked.of["late"][len(worked.of["late"])-1],
		"early-00": withoutResyncs(seen.of["early-00"]), "early-01": seen.of["early-01"],
	}, nil
}

// withoutResyncs leaves out what depends on when the object went.
func withoutResyncs(events []string) []string {
	var kept []string
	for _, event := range events {
		if len(event) < 8 || event[:8] != "resynced" {
			kept = append(kept, event)
		}
	}
	return kept
}

// pages: a list in pages is one state, also when objects come and go between them.
func pages(ctx context.Context, _ *rest.Config, clients kubernetes.Interface, namespace string) (any, error) {
	maps := clients.CoreV1().ConfigMaps(namespace)
	for number := range 25 {
		if _, err := maps.Create(ctx, configMap(fmt.Sprintf("map-%02d", number), "1"), metav1.CreateOptions{}); err != nil {
			return nil, err
		}
	}
	asked := 0
	reader := pager.New(func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
		if asked++; asked == 2 {
			if _, err := maps.Create(ctx, configMap("map-99", "1"), metav1.CreateOptions{}); err != nil {
				return nil, err
			}
			if err := maps.Delete(ctx, "map-24", metav1.DeleteOptions{}); err != nil {
				return nil, err
			}
		}
		options.LabelSelector = "app=clients"
		return maps.List(ctx, options)
	})
	reader.PageSize = 10
	var names []string
	err := reader.EachListItem(ctx, metav1.ListOptions{}, func(object runtime.Object) error {
		names = append(names, object.(*corev1.ConfigMap).Name)
		return nil
	})
	if err != nil {
		return nil, err
	}
	first, err := maps.List(ctx, metav1.ListOptions{Limit: 7, LabelSelector: "app=clients"})
	if err != nil {
		return nil, err
	}
	return map[string]any{
		"asked": asked, "items": len(names), "last": names[len(names)-1],
		"page": len(first.Items), "more": first.Continue != "", "remaining": first.RemainingItemCount,
	}, nil
}

var widgets = schema.GroupVersionResource{Group: "clients.example.org", Version: "v1", Resource: "widgets"}

// definition is a CustomResourceDefinition with a default, a subresource and a rule of its structure.
func definition() *unstructured.Unstructured {
	integer := map[string]any{"type": "integer", "minimum": int64(1)}
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
		"metadata": map[string]any{"name": "widgets.clients.example.org"},
		"spec": map[string]any{
			"group": widgets.Group, "scope": "Namespaced",
			"names": map[string]any{"kind": "Widget", "listKind": "WidgetList", "plural": "widgets", "singular": "widget"},
			"versions": []any{map[string]any{
				"name": "v1", "served": true, "storage": true, "subresources": map[string]any{"status": map[string]any{}},
				"schema": map[string]any{"openAPIV3Schema": map[string]any{
					"type": "object",
					"properties": map[string]any{
						"spec": map[string]any{"type": "object", "properties": map[string]any{
							"size": integer, "colour": map[string]any{"type": "string", "default": "blue"},
						}},
						"status": map[string]any{"type": "object", "properties": map[string]any{"size": integer}},
					},
				}},
			}},
		},
	}}
}

// dynamicInformers: a kind that is defined at run time, through the dynamic client and its informers.
func dynamicInformers(ctx context.Context, config *rest.Config, _ kubernetes.Interface, namespace string) (any, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	definitions := client.Resource(schema.GroupVersionResource{
		Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"})
	if _, err := definitions.Create(ctx, definition(), metav1.CreateOptions{}); err != nil {
		return nil, err
	}
	if err := until(ctx, "the definition is established", func() (bool, error) {
		live, err := definitions.Get(ctx, "widgets.clients.example.org", metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		conditions, _, err := unstructured.NestedSlice(live.Object, "status", "conditions")
		for _, condition := range conditions {
			condition := condition.(map[string]any)
			if condition["type"] == "Established" && condition["status"] == "True" {
				return true, nil
			}
		}
		return false, err
	}); err != nil {
		return nil, err
	}
	instances := client.Resource(widgets).Namespace(namespace)
	// A fresh definition may be served a moment after it is established.
	if err := until(ctx, "the kind is served", func() (bool, error) {
		_, err := instances.List(ctx, metav1.ListOptions{})
		return err == nil, err
	}); err != nil {
		return nil, err
	}
	seen := &history{}
	text := func(object any) string {
		widget := object.(*unstructured.Unstructured).Object
		spec, _, _ := unstructured.NestedMap(widget, "spec")
		status, _, _ := unstructured.NestedMap(widget, "status")
		return fmt.Sprint(spec, status)
	}
	factory := dynamicinformer.NewFilteredDynamicSharedInformerFactory(client, 0, namespace, nil)
	informer := factory.ForResource(widgets).Informer()
	_, err = informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(object any) { seen.add("one", "added "+text(object)) },
		UpdateFunc: func(_, object any) { seen.add("one", "updated "+text(object)) },
		DeleteFunc: func(any) { seen.add("one", "deleted") },
	})
	if err != nil {
		return nil, err
	}
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	widget := func(spec map[string]any) *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "clients.example.org/v1", "kind": "Widget", "metadata": map[string]any{"name": "one"}, "spec": spec,
		}}
	}
	_, refused := instances.Create(ctx, widget(map[string]any{"size": int64(0)}), metav1.CreateOptions{})
	live, err := instances.Create(ctx, widget(map[string]any{"size": int64(3), "unknown": "x"}), metav1.CreateOptions{})
	if err != nil {
		return nil, err
	}
	if err := unstructured.SetNestedField(live.Object, int64(3), "status", "size"); err != nil {
		return nil, err
	}
	if _, err := instances.UpdateStatus(ctx, live, metav1.UpdateOptions{}); err != nil {
		return nil, err
	}
	want := "updated map[colour:blue size:3] map[size:3]"
	if err := until(ctx, want, func() (bool, error) { return seen.last("one") == want, nil }); err != nil {
		return nil, err
	}
	applied, err := instances.Apply(ctx, "one", widget(map[string]any{"colour": "red"}), metav1.ApplyOptions{
		FieldManager: "clients", Force: true})
	if err != nil {
		return nil, err
	}
	if err := instances.Delete(ctx, "one", metav1.DeleteOptions{}); err != nil {
		return nil, err
	}
	if err := until(ctx, "deleted", func() (bool, error) { return seen.last("one") == "deleted", nil }); err != nil {
		return nil, err
	}
	seen.lock.Lock()
	defer seen.lock.Unlock()
	return map[string]any{"refused": apierrors.ReasonForError(refused), "applied": text(applied), "events": seen.of["one"]}, nil
}
