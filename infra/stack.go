// Package infra is the deployment: a CDK stack with the GraphQL API, its
// function, Redis, the event bus and what watches over them.
package infra

import (
	"strings"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/constructs-go/constructs/v10"
	"github.com/aws/jsii-runtime-go"
	"github.com/cdklabs/cdk-nag-go/cdknag/v2"

	"presence"
	"presence/internal/sdl"
)

// Options are what a deployment is made of beside its [Context].
type Options struct {
	// Function is the path of the function's deployment package: see
	// [BuildFunction].
	Function string
	// Account and Region are where the stack goes. Only a stack with a vpcId needs
	// them; any other is the same for all, and is synthesized without credentials.
	Account, Region string
}

// NewStack adds the stack to app, and the checks of cdk-nag to the stack.
func NewStack(app awscdk.App, c Context, opts Options) (awscdk.Stack, error) {
	schema, err := sdl.Print(presence.Schema)
	if err != nil {
		return nil, err
	}
	props := &awscdk.StackProps{
		StackName:             &c.Name,
		Description:           jsii.String("Presence API: who is online, and on which page"),
		TerminationProtection: jsii.Bool(c.Stage == production),
		Tags:                  &map[string]*string{"application": jsii.String("presence"), "name": &c.Name, "stage": &c.Stage},
	}
	if c.VPCID != "" {
		if opts.Account == "" || opts.Region == "" {
			return nil, presence.Errorf(presence.InvalidArgument, "vpcId is looked up in an account: give cdk credentials and a region.")
		}
		props.Env = &awscdk.Environment{Account: &opts.Account, Region: &opts.Region}
	}
	stack := awscdk.NewStack(app, &c.Name, props)

	network, err := newNetwork(stack, c)
	if err != nil {
		return nil, err
	}
	store := newStore(stack, c, network)
	bus := newBus(stack, c)
	function := newFunction(stack, c, opts.Function, network, store, bus)
	users := newUsers(stack, c)
	api := newAPI(stack, c, schema, users, function)
	letters := newAnnouncements(stack, bus, api)
	newSchedule(stack, function)
	newOperations(stack, c, api, function, letters, store.alarms)

	output := func(name, description string, value *string) {
		awscdk.NewCfnOutput(stack, &name, &awscdk.CfnOutputProps{Description: &description, Value: value})
	}
	output("GraphQLUrl", "Endpoint for queries and mutations", api.AttrGraphQlUrl())
	output("RealtimeUrl", "Endpoint for subscriptions", api.AttrRealtimeUrl())
	output("Region", "Region of the API and the user pool", stack.Region())
	output("UserPoolId", "User pool whose users may call", &users.poolID)
	if len(users.clientIDs) > 0 {
		output("UserPoolClientId", "App client to sign in with", &users.clientIDs[0])
	}
	output("EventBusName", "Bus that changes are published to", bus.EventBusName())

	awscdk.Aspects_Of(stack).Add(cdknag.NewAwsSolutionsChecks(&cdknag.NagPackProps{Verbose: jsii.Bool(true)}), nil)
	return stack, nil
}

// servicePrincipal returns a service, acting for this account alone: one that is
// tricked into acting for another account cannot assume the role.
func servicePrincipal(stack awscdk.Stack, service string) awsiam.IPrincipal {
	return awsiam.NewServicePrincipal(&service, &awsiam.ServicePrincipalOpts{
		Conditions: &map[string]any{"StringEquals": map[string]any{"aws:SourceAccount": stack.Account()}},
	})
}

// removalPolicy says what becomes of data when its resource goes.
func (c Context) removalPolicy() awscdk.RemovalPolicy {
	if c.Stage == production {
		return awscdk.RemovalPolicy_RETAIN
	}
	return awscdk.RemovalPolicy_DESTROY
}

// suppress tells cdk-nag why rules do not hold for a construct. A rule may name
// the finding it is about, or a regular expression of it: RULE[finding],
// RULE[/finding/].
func suppress(construct constructs.IConstruct, reason string, rules ...string) {
	suppressions := make([]*cdknag.NagPackSuppression, len(rules))
	for i, rule := range rules {
		id, finding, found := strings.Cut(rule, "[")
		suppressions[i] = &cdknag.NagPackSuppression{Id: &id, Reason: &reason}
		finding = strings.TrimSuffix(finding, "]")
		switch {
		case strings.HasPrefix(finding, "/"):
			suppressions[i].AppliesTo = &[]any{&cdknag.RegexAppliesTo{Regex: &finding}}
		case found:
			suppressions[i].AppliesTo = &[]any{finding}
		}
	}
	cdknag.NagSuppressions_AddResourceSuppressions(construct, &suppressions, jsii.Bool(true))
}
