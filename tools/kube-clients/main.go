// Command kube-clients drives an API server with the libraries that operators in Go are made of (client-go's
// informers, work queues, leader election and pager, controller-runtime's manager, cache and client) and prints, as
// JSON, what they saw. A test runs it against kubesim and against a real kube-apiserver: the reports must be equal.
//
// usage: kube-clients KUBECONFIG
//
// Everything happens in the namespaces clients-*, which must not exist. What two servers cannot share (uids, times,
// versions) is left out of the report, and so is the order of events of different objects.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
)

// patience is how long anything may take to come about.
const patience = 60 * time.Second

// A part looks at one library.
type part struct {
	name string
	run  func(context.Context, *rest.Config, kubernetes.Interface, string) (any, error)
}

var parts = []part{
	{"informers", informers},
	{"pager", pages},
	{"dynamic", dynamicInformers},
	{"elections", elections},
	{"events", recorder},
	{"typed", typed},
	{"controller", controller},
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: kube-clients KUBECONFIG")
		os.Exit(2)
	}
	if err := report(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "kube-clients:", err)
		os.Exit(1)
	}
}

func report(kubeconfig string) error {
	klog.SetLogger(logr.Discard())
	ctrl.SetLogger(logr.Discard())
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	config.QPS, config.Burst = 500, 500
	clients, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*patience)
	defer cancel()
	saw := map[string]any{}
	for _, part := range parts {
		namespace := "clients-" + part.name
		made := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}
		if _, err := clients.CoreV1().Namespaces().Create(ctx, made, metav1.CreateOptions{}); err != nil {
			return fmt.Errorf("namespace %s: %w", namespace, err)
		}
		result, err := part.run(ctx, config, clients, namespace)
		if err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
		saw[part.name] = result
	}
	encoder := json.NewEncoder(os.Stdout)
	encoder.SetIndent("", "  ")
	return encoder.Encode(saw)
}

// until waits for a state of another process, which tells nobody.
func until(ctx context.Context, what string, holds func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var last error
	for {
		done, err := holds()
		if done && err == nil {
			return nil
		}
		last = err
		select {
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("%s: not within %s", what, patience), last)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// configMap is one with a single value.
func configMap(name, value string) *corev1.ConfigMap {
	return &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": "clients"}},
		Data:       map[string]string{"value": value},
	}
}
