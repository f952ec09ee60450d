package main

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/client-go/util/retry"
)

// elections: two candidates and one Lease; the second leads when the first gives it back.
func elections(ctx context.Context, _ *rest.Config, clients kubernetes.Interface, namespace string) (any, error) {
	var led history
	candidate := func(identity string) (context.CancelFunc, <-chan struct{}) {
		ctx, cancel := context.WithCancel(ctx)
		ended := make(chan struct{})
		lock := &resourcelock.LeaseLock{
			LeaseMeta: metav1.ObjectMeta{Name: "leader", Namespace: namespace}, Client: clients.CoordinationV1(),
			LockConfig: resourcelock.ResourceLockConfig{Identity: identity},
		}
		go func() {
			defer close(ended)
			leaderelection.RunOrDie(ctx, leaderelection.LeaderElectionConfig{
				Lock: lock, ReleaseOnCancel: true,
				LeaseDuration: 10 * time.Second, RenewDeadline: 8 * time.Second, RetryPeriod: 200 * time.Millisecond,
				Callbacks: leaderelection.LeaderCallbacks{
					OnStartedLeading: func(context.Context) { led.add("leader", identity) },
					OnStoppedLeading: func() {},
				},
			})
		}()
		return cancel, ended
	}
	leads := func(identity string) error {
		return until(ctx, identity+" leads", func() (bool, error) { return led.last("leader") == identity, nil })
	}
	endFirst, firstEnded := candidate("first")
	defer endFirst()
	if err := leads("first"); err != nil {
		return nil, err
	}
	endSecond, secondEnded := candidate("second")
	defer endSecond()
	leases := clients.CoordinationV1().Leases(namespace)
	before, err := leases.Get(ctx, "leader", metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	if err := until(ctx, "the first renews", func() (bool, error) {
		now, err := leases.Get(ctx, "leader", metav1.GetOptions{})
		return err == nil && now.Spec.RenewTime.After(before.Spec.RenewTime.Time), err
	}); err != nil {
		return nil, err
	}
	endFirst()
	<-firstEnded
	if err := leads("second"); err != nil {
		return nil, err
	}
	live, err := leases.Get(ctx, "leader", metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	endSecond()
	<-secondEnded
	return map[string]any{
		"led": led.of["leader"], "holder": live.Spec.HolderIdentity, "transitions": live.Spec.LeaseTransitions,
		"seconds": live.Spec.LeaseDurationSeconds,
	}, nil
}

// recorder: events as client-go's recorder writes them, repeated ones counted as a series.
func recorder(ctx context.Context, _ *rest.Config, clients kubernetes.Interface, namespace string) (any, error) {
	about, err := clients.CoreV1().ConfigMaps(namespace).Create(ctx, configMap("about", "1"), metav1.CreateOptions{})
	if err != nil {
		return nil, err
	}
	broadcaster := events.NewBroadcaster(&events.EventSinkImpl{Interface: clients.EventsV1()})
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := broadcaster.StartRecordingToSinkWithContext(ctx); err != nil {
		return nil, err
	}
	defer broadcaster.Shutdown()
	sender := broadcaster.NewRecorder(scheme.Scheme, "hansa.dev/clients")
	sender.Eventf(about, nil, corev1.EventTypeNormal, "Seen", "Looking", "the value is %s", about.Data["value"])
	var found eventsv1.Event
	if err := until(ctx, "the event is there", func() (bool, error) {
		list, err := clients.EventsV1().Events(namespace).List(ctx, metav1.ListOptions{FieldSelector: "reason=Seen"})
		if err != nil || len(list.Items) != 1 {
			return false, err
		}
		found = list.Items[0]
		return true, nil
	}); err != nil {
		return nil, err
	}
	old, err := clients.CoreV1().Events(namespace).Get(ctx, found.Name, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	return map[string]any{
		"note": found.Note, "regarding": found.Regarding.Kind + "/" + found.Regarding.Name, "type": found.Type,
		"controller": found.ReportingController, "message": old.Message, "involved": old.InvolvedObject.Name,
	}, nil
}

// typed: the typed clients and the errors that programs tell apart.
func typed(ctx context.Context, _ *rest.Config, clients kubernetes.Interface, namespace string) (any, error) {
	maps := clients.CoreV1().ConfigMaps(namespace)
	saw := map[string]any{}
	reason := func(name string, err error) { saw[name] = fmt.Sprintf("%s", apierrors.ReasonForError(err)) }
	one, err := maps.Create(ctx, configMap("one", "1"), metav1.CreateOptions{})
	if err != nil {
		return nil, err
	}
	_, err = maps.Create(ctx, configMap("one", "1"), metav1.CreateOptions{})
	reason("created twice", err)
	_, err = maps.Get(ctx, "two", metav1.GetOptions{})
	reason("missing", err)
	_, err = maps.Create(ctx, configMap("Not_A_Name", "1"), metav1.CreateOptions{})
	reason("bad name", err)
	stale := one.DeepCopy()
	one.Data["value"] = "2"
	if one, err = maps.Update(ctx, one, metav1.UpdateOptions{}); err != nil {
		return nil, err
	}
	_, err = maps.Update(ctx, stale, metav1.UpdateOptions{})
	reason("stale", err)
	tries := 0
	err = retry.RetryOnConflict(retry.DefaultRetry, func() error {
		if tries++; tries > 1 {
			if stale, err = maps.Get(ctx, "one", metav1.GetOptions{}); err != nil {
				return err
			}
		}
		stale.Data["value"] = "3"
		_, err := maps.Update(ctx, stale, metav1.UpdateOptions{})
		return err
	})
	reason("retried", err)
	saw["tries"] = tries
	for _, kind := range []types.PatchType{types.JSONPatchType, types.MergePatchType, types.StrategicMergePatchType} {
		patch := `{"data":{"value":"4"}}`
		if kind == types.JSONPatchType {
			patch = `[{"op":"replace","path":"/data/value","value":"4"}]`
		}
		patched, err := maps.Patch(ctx, "one", kind, []byte(patch), metav1.PatchOptions{})
		if err != nil {
			return nil, err
		}
		saw[string(kind)] = patched.Data["value"]
	}
	dry, err := maps.Create(ctx, configMap("dry", "1"), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	if err != nil {
		return nil, err
	}
	saw["dry run"] = dry.Name
	_, err = maps.Get(ctx, "dry", metav1.GetOptions{})
	reason("after the dry run", err)
	other := types.UID("00000000-0000-0000-0000-000000000000")
	err = maps.Delete(ctx, "one", metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &other}})
	reason("another uid", err)
	err = maps.DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: "app=clients"})
	reason("collection", err)
	left, err := maps.List(ctx, metav1.ListOptions{LabelSelector: "app=clients"})
	if err != nil {
		return nil, err
	}
	saw["left"] = len(left.Items)
	version, err := clients.Discovery().ServerVersion()
	if err != nil {
		return nil, err
	}
	saw["major"] = version.Major
	return saw, nil
}
