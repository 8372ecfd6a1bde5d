package chart_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/validation/field"
	podutil "k8s.io/kubernetes/pkg/api/pod"
	serviceutil "k8s.io/kubernetes/pkg/api/service"
	"k8s.io/kubernetes/pkg/apis/apps"
	appsinstall "k8s.io/kubernetes/pkg/apis/apps/install"
	appsvalidation "k8s.io/kubernetes/pkg/apis/apps/validation"
	"k8s.io/kubernetes/pkg/apis/autoscaling"
	autoscalinginstall "k8s.io/kubernetes/pkg/apis/autoscaling/install"
	autoscalingvalidation "k8s.io/kubernetes/pkg/apis/autoscaling/validation"
	"k8s.io/kubernetes/pkg/apis/batch"
	batchinstall "k8s.io/kubernetes/pkg/apis/batch/install"
	batchvalidation "k8s.io/kubernetes/pkg/apis/batch/validation"
	"k8s.io/kubernetes/pkg/apis/core"
	coreinstall "k8s.io/kubernetes/pkg/apis/core/install"
	corevalidation "k8s.io/kubernetes/pkg/apis/core/validation"
	"k8s.io/kubernetes/pkg/apis/networking"
	networkinginstall "k8s.io/kubernetes/pkg/apis/networking/install"
	networkingvalidation "k8s.io/kubernetes/pkg/apis/networking/validation"
	"k8s.io/kubernetes/pkg/apis/policy"
	policyinstall "k8s.io/kubernetes/pkg/apis/policy/install"
	policyvalidation "k8s.io/kubernetes/pkg/apis/policy/validation"
)

// server decodes objects as the API server does, with its defaults.
func server() runtime.Decoder {
	scheme := runtime.NewScheme()
	for _, install := range []func(*runtime.Scheme){
		coreinstall.Install, appsinstall.Install, batchinstall.Install, networkinginstall.Install, policyinstall.Install, autoscalinginstall.Install,
	} {
		install(scheme)
	}
	return serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDecoder()
}

// faults is what the API server's own rules find wrong with an object. They see what no schema can
// say, such as whether one network contains another.
func faults(o runtime.Object) (field.ErrorList, error) {
	pod := func(t *core.PodTemplateSpec) corevalidation.PodValidationOptions {
		return podutil.GetValidationOptionsFromPodTemplate(t, nil)
	}
	switch o := o.(type) {
	case *apps.Deployment:
		return appsvalidation.ValidateDeployment(o, pod(&o.Spec.Template)), nil
	case *apps.StatefulSet:
		return appsvalidation.ValidateStatefulSet(o, appsvalidation.StatefulSetValidationOptions{}, pod(&o.Spec.Template)), nil
	case *batch.CronJob:
		return batchvalidation.ValidateCronJobCreate(o, pod(&o.Spec.JobTemplate.Spec.Template)), nil
	case *batch.Job: // the server creates its selector
		return corevalidation.ValidatePodTemplateSpec(&o.Spec.Template, field.NewPath("spec", "template"), pod(&o.Spec.Template)), nil
	case *core.Pod:
		return corevalidation.ValidatePodCreate(o, podutil.GetValidationOptionsFromPodSpecAndMeta(&o.Spec, nil, &o.ObjectMeta, nil)), nil
	case *core.Service:
		// The server fills these in before it validates.
		if ip := o.Spec.ClusterIP; ip != "" {
			o.Spec.ClusterIPs = []string{ip}
		}
		if serviceutil.NeedsHealthCheck(o) {
			o.Spec.HealthCheckNodePort = 30000
		}
		return corevalidation.ValidateServiceCreate(o), nil
	case *core.ServiceAccount:
		return corevalidation.ValidateServiceAccount(o), nil
	case *core.ConfigMap:
		return corevalidation.ValidateConfigMap(o), nil
	case *core.Secret:
		return corevalidation.ValidateSecret(o), nil
	case *networking.NetworkPolicy:
		return networkingvalidation.ValidateNetworkPolicy(o, networkingvalidation.NetworkPolicyValidationOptions{}), nil
	case *networking.Ingress:
		return networkingvalidation.ValidateIngressCreate(o), nil
	case *policy.PodDisruptionBudget:
		return policyvalidation.ValidatePodDisruptionBudget(o, policyvalidation.PodDisruptionBudgetValidationOptions{}), nil
	case *autoscaling.HorizontalPodAutoscaler:
		return autoscalingvalidation.ValidateHorizontalPodAutoscaler(o, autoscalingvalidation.HorizontalPodAutoscalerSpecValidationOptions{}), nil
	default:
		return nil, fmt.Errorf("no rules for a %T", o)
	}
}

func TestTheAPIServerWouldTakeEveryObject(t *testing.T) {
	t.Parallel()
	decoder := server()
	check := func(doc []byte) error {
		o, err := runtime.Decode(decoder, doc)
		if err != nil {
			return err
		}
		named, err := meta.Accessor(o)
		if err != nil {
			return err
		}
		named.SetNamespace(namespace)
		found, err := faults(o)
		if err != nil {
			return err
		}
		return found.ToAggregate()
	}
	// Objects of definitions that a cluster has in addition; only their schemas exist here.
	custom := []string{"keda.sh/", "monitoring.coreos.com/", "jetstream.nats.io/"}
	for name, args := range values(t) {
		for _, o := range render(t, args...) {
			if slices.ContainsFunc(custom, func(group string) bool { return strings.HasPrefix(o.APIVersion, group) }) {
				continue
			}
			require.NoError(t, check(o.raw), "%s: %s %s", name, o.Kind, o.Metadata.Name)
		}
	}
	require.ErrorContains(t, check([]byte(`
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: x}
spec: {podSelector: {}, egress: [{to: [{ipBlock: {cidr: "::/0", except: ["::ffff:0:0/96"]}}]}]}`)), "strict subset")
	require.ErrorContains(t, check([]byte("apiVersion: v1\nkind: Service\nmetadata: {name: X}\nspec: {ports: [{port: 1}]}")), "metadata.name")
}
