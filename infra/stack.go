// Package infra is the deployment: a CDK stack with the GraphQL API, its
// function, Redis, the event bus and what watches over them.
package infra

import (
	"context"
	"os"
	"strings"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/constructs-go/constructs/v10"
	"github.com/aws/jsii-runtime-go"
	"github.com/cdklabs/cdk-nag-go/cdknag/v2"

	"presence"
)

// NewStack adds the stack to app, and the checks of cdk-nag to the stack. It
// builds the function on the way.
func NewStack(ctx context.Context, app awscdk.App, c Context) (awscdk.Stack, error) {
	schema, err := Schema(presence.Schema)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "presence-")
	if err != nil {
		return nil, err
	}
	// The CDK has its copy by then. What can not be removed is left in the
	// system's folder for such things.
	defer func() { _ = os.RemoveAll(dir) }()
	zip, err := buildFunction(ctx, dir)
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
		// Only a stack of a known account and region can look things up; any other
		// is the same for all, and is synthesized without credentials.
		account, region := os.Getenv("CDK_DEFAULT_ACCOUNT"), os.Getenv("CDK_DEFAULT_REGION")
		if account == "" || region == "" {
			return nil, presence.Errorf(presence.InvalidArgument, "vpcId is looked up in an account: give cdk credentials and a region.")
		}
		props.Env = &awscdk.Environment{Account: &account, Region: &region}
	}
	stack := awscdk.NewStack(app, &c.Name, props)

	network := newNetwork(stack, c)
	store := newStore(stack, c, network)
	bus := newBus(stack, c)
	function := newFunction(stack, c, zip, network, store, bus)
	users := newUsers(stack, c)
	api := newAPI(stack, c, schema, users, function)
	letters := newAnnouncements(stack, bus, api)
	newSchedule(stack, function)
	newOperations(stack, c, api, function, letters)

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
