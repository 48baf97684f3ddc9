package infra

import (
	"encoding/json"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsappsync"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsevents"
	"github.com/aws/aws-cdk-go/awscdk/v2/awseventstargets"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awslambda"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssqs"
	"github.com/aws/jsii-runtime-go"

	"presence"
	"presence/internal/announce"
)

// newBus adds the bus that every change of status is published to.
func newBus(stack awscdk.Stack, c Context) awsevents.EventBus {
	bus := awsevents.NewEventBus(stack, jsii.String("Bus"), &awsevents.EventBusProps{
		Description: jsii.String("Changes of users' presence"),
	})
	if c.ArchiveDays > 0 {
		bus.Archive(jsii.String("Archive"), &awsevents.BaseArchiveProps{
			EventPattern: &awsevents.EventPattern{Source: jsii.Strings(presence.EventSource)},
			Retention:    awscdk.Duration_Days(jsii.Number(float64(c.ArchiveDays))),
		})
	}
	return bus
}

// newAnnouncements adds the rules that call AppSync for every change. It returns
// the queue of the events that AppSync did not take.
func newAnnouncements(stack awscdk.Stack, bus awsevents.EventBus, api awsappsync.CfnGraphQLApi) awssqs.Queue {
	letters := awssqs.NewQueue(stack, jsii.String("DeadLetters"), &awssqs.QueueProps{
		Encryption:      awssqs.QueueEncryption_SQS_MANAGED,
		EnforceSSL:      jsii.Bool(true),
		RetentionPeriod: awscdk.Duration_Days(jsii.Number(14)),
	})
	suppress(letters, "This is the dead-letter queue.", "AwsSolutions-SQS3")
	for _, r := range announce.Rules() {
		role := awsiam.NewRole(stack, jsii.String(r.Field+"Role"), &awsiam.RoleProps{
			AssumedBy: servicePrincipal(stack, "events.amazonaws.com"),
		})
		role.AddToPolicy(awsiam.NewPolicyStatement(&awsiam.PolicyStatementProps{
			Actions: jsii.Strings("appsync:GraphQL"), Resources: jsii.Strings(*api.AttrArn() + "/types/Mutation/fields/" + r.Field),
		}))
		var pattern map[string]any
		if err := json.Unmarshal([]byte(r.Pattern()), &pattern); err != nil {
			panic(err) // Pattern writes valid JSON.
		}
		// The L2 construct would write its own input transformer. The L1 takes ours,
		// which the local EventBridge runs too.
		rule := awsevents.NewCfnRule(stack, jsii.String(r.Field+"Rule"), &awsevents.CfnRuleProps{
			Description:  jsii.String("Calls the mutation " + r.Field + ", which tells subscribers"),
			EventBusName: bus.EventBusName(),
			EventPattern: pattern,
			Targets: []any{&awsevents.CfnRule_TargetProperty{
				Id:                jsii.String("AppSync"),
				Arn:               api.AttrGraphQlEndpointArn(),
				RoleArn:           role.RoleArn(),
				AppSyncParameters: &awsevents.CfnRule_AppSyncParametersProperty{GraphQlOperation: jsii.String(r.Operation())},
				InputTransformer: &awsevents.CfnRule_InputTransformerProperty{
					InputPathsMap: stringMap(r.InputPaths()), InputTemplate: jsii.String(r.InputTemplate()),
				},
				// The shortest there is. A change that is not announced by then is due
				// again, and the next sweep publishes it.
				RetryPolicy:      &awsevents.CfnRule_RetryPolicyProperty{MaximumEventAgeInSeconds: jsii.Number(60), MaximumRetryAttempts: jsii.Number(3)},
				DeadLetterConfig: &awsevents.CfnRule_DeadLetterConfigProperty{Arn: letters.QueueArn()},
			}},
		})
		letters.AddToResourcePolicy(awsiam.NewPolicyStatement(&awsiam.PolicyStatementProps{
			Principals: &[]awsiam.IPrincipal{awsiam.NewServicePrincipal(jsii.String("events.amazonaws.com"), nil)},
			Actions:    jsii.Strings("sqs:SendMessage"),
			Resources:  &[]*string{letters.QueueArn()},
			Conditions: &map[string]any{"ArnEquals": map[string]any{"aws:SourceArn": rule.AttrArn()}},
		}))
	}
	return letters
}

// newSchedule adds the rule that starts the sweep each minute, the shortest
// period there is. It is on the account's default bus, as schedules have to be.
func newSchedule(stack awscdk.Stack, function awslambda.Function) {
	awsevents.NewRule(stack, jsii.String("Schedule"), &awsevents.RuleProps{
		Description: jsii.String("Starts the presence sweep"),
		Schedule:    awsevents.Schedule_Rate(awscdk.Duration_Minutes(jsii.Number(1))),
		Targets: &[]awsevents.IRuleTarget{awseventstargets.NewLambdaFunction(function, &awseventstargets.LambdaFunctionProps{
			MaxEventAge: awscdk.Duration_Minutes(jsii.Number(1)), RetryAttempts: jsii.Number(0),
		})},
	})
}
