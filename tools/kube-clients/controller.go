package main

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1apply "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"
)

const finalizer = "clients.example.org/mirror"

// mirror keeps a Secret beside each ConfigMap with its value: an operator in small.
type mirror struct {
	client.Client
	seen *history
}

func (m *mirror) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	var source corev1.ConfigMap
	if err := m.Get(ctx, request.NamespacedName, &source); err != nil {
		m.seen.add(request.Name, "gone")
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !source.DeletionTimestamp.IsZero() {
		m.seen.add(request.Name, "deleting")
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: source.Name, Namespace: source.Namespace}}
		if err := m.Delete(ctx, secret); client.IgnoreNotFound(err) != nil {
			return ctrl.Result{}, err
		}
		if controllerutil.RemoveFinalizer(&source, finalizer) {
			return ctrl.Result{}, client.IgnoreNotFound(m.Update(ctx, &source))
		}
		return ctrl.Result{}, nil
	}
	if controllerutil.AddFinalizer(&source, finalizer) {
		return ctrl.Result{}, m.Update(ctx, &source)
	}
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: source.Name, Namespace: source.Namespace}}
	_, err := controllerutil.CreateOrUpdate(ctx, m.Client, secret, func() error {
		secret.StringData = nil
		secret.Data = map[string][]byte{"value": []byte(source.Data["value"])}
		return controllerutil.SetControllerReference(&source, secret, m.Scheme())
	})
	if err == nil {
		m.seen.add(request.Name, "mirrored "+source.Data["value"])
	}
	return ctrl.Result{}, err
}

// controller: a manager with its cache and client, a controller that owns objects, an index, and apply.
func controller(ctx context.Context, config *rest.Config, clients kubernetes.Interface, namespace string) (any, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	manager, err := ctrl.NewManager(config, ctrl.Options{
		Metrics: server.Options{BindAddress: "0"}, HealthProbeBindAddress: "0",
		Cache: cache.Options{DefaultNamespaces: map[string]cache.Config{namespace: {}}},
	})
	if err != nil {
		return nil, err
	}
	byValue := func(object client.Object) []string { return []string{object.(*corev1.ConfigMap).Data["value"]} }
	if err := manager.GetFieldIndexer().IndexField(ctx, &corev1.ConfigMap{}, "value", byValue); err != nil {
		return nil, err
	}
	seen := &history{}
	err = ctrl.NewControllerManagedBy(manager).Named("mirror").For(&corev1.ConfigMap{}).Owns(&corev1.Secret{}).
		Complete(&mirror{manager.GetClient(), seen})
	if err != nil {
		return nil, err
	}
	ended := make(chan error, 1)
	go func() { ended <- manager.Start(ctx) }()
	if !manager.GetCache().WaitForCacheSync(ctx) {
		return nil, fmt.Errorf("the manager's cache does not fill")
	}
	live := manager.GetClient()
	saw := map[string]any{}

	source := configMap("source", "1")
	source.Namespace = namespace
	if err := live.Create(ctx, source); err != nil {
		return nil, err
	}
	secrets := clients.CoreV1().Secrets(namespace)
	holds := func(value string) error {
		return until(ctx, "the mirror holds "+value, func() (bool, error) {
			secret, err := secrets.Get(ctx, "source", metav1.GetOptions{})
			if err != nil {
				return false, client.IgnoreNotFound(err)
			}
			return string(secret.Data["value"]) == value, nil
		})
	}
	if err := holds("1"); err != nil {
		return nil, err
	}
	// What an owned object loses is put back, since the controller watches what it owns.
	if err := secrets.Delete(ctx, "source", metav1.DeleteOptions{}); err != nil {
		return nil, err
	}
	if err := holds("1"); err != nil {
		return nil, err
	}
	if err := until(ctx, "the index has it", func() (bool, error) {
		var found corev1.ConfigMapList
		err := live.List(ctx, &found, client.InNamespace(namespace), client.MatchingFields{"value": "1"})
		return len(found.Items) == 1, err
	}); err != nil {
		return nil, err
	}
	read := manager.GetAPIReader()
	key := client.ObjectKeyFromObject(source)
	if err := read.Get(ctx, key, source); err != nil {
		return nil, err
	}
	before := source.DeepCopy()
	source.Data["value"] = "2"
	if err := live.Patch(ctx, source, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})); err != nil {
		return nil, err
	}
	stale := before.DeepCopy()
	stale.Data["value"] = "x"
	err = live.Patch(ctx, stale, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
	saw["stale patch"] = apierrors.IsConflict(err)
	if err := holds("2"); err != nil {
		return nil, err
	}
	applied := corev1apply.ConfigMap("source", namespace).WithData(map[string]string{"value": "3"})
	err = live.Apply(ctx, applied, client.FieldOwner("applier"))
	saw["apply without force"] = apierrors.IsConflict(err)
	if err := live.Apply(ctx, applied, client.FieldOwner("applier"), client.ForceOwnership); err != nil {
		return nil, err
	}
	if err := holds("3"); err != nil {
		return nil, err
	}
	if err := live.Delete(ctx, source); err != nil {
		return nil, err
	}
	if err := until(ctx, "the finalizer went", func() (bool, error) {
		err := read.Get(ctx, key, &corev1.ConfigMap{})
		return apierrors.IsNotFound(err) && seen.last("source") == "gone", nil
	}); err != nil {
		return nil, err
	}
	_, err = secrets.Get(ctx, "source", metav1.GetOptions{})
	saw["the mirror after the end"] = string(apierrors.ReasonForError(err))

	status, err := deploymentStatus(ctx, live, namespace)
	if err != nil {
		return nil, err
	}
	saw["status"] = status
	cancel()
	return saw, <-ended
}

// deploymentStatus writes a status as an operator does: it goes to its subresource, and nothing else goes with it.
func deploymentStatus(ctx context.Context, live client.Client, namespace string) (any, error) {
	labels := map[string]string{"app": "web"}
	none := int32(0)
	deployment := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: namespace},
		Spec: appsv1.DeploymentSpec{
			Replicas: &none, Paused: true, Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "web:1"}}},
			},
		},
	}
	if err := live.Create(ctx, deployment); err != nil {
		return nil, err
	}
	before := deployment.DeepCopy()
	deployment.Status.Conditions = []appsv1.DeploymentCondition{{Type: "Mirrored", Status: corev1.ConditionTrue, Reason: "Test"}}
	deployment.Spec.MinReadySeconds = 7
	if err := live.Status().Patch(ctx, deployment, client.MergeFrom(before)); err != nil {
		return nil, err
	}
	condition := func() string {
		for _, condition := range deployment.Status.Conditions {
			if condition.Type == "Mirrored" {
				return condition.Reason
			}
		}
		return ""
	}
	return map[string]any{"condition": condition(), "minReadySeconds": deployment.Spec.MinReadySeconds}, nil
}
