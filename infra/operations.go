package infra

import (
	"fmt"
	"strings"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsappsync"
	"github.com/aws/aws-cdk-go/awscdk/v2/awscloudwatch"
	"github.com/aws/aws-cdk-go/awscdk/v2/awscloudwatchactions"
	"github.com/aws/aws-cdk-go/awscdk/v2/awslambda"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssns"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssqs"
	"github.com/aws/aws-cdk-go/awscdk/v2/interfaces/interfacesawscloudwatch"
	"github.com/aws/jsii-runtime-go"

	"presence"
	"presence/internal/metrics"
	"presence/resolvers"
)

// alarm is one thing somebody should look at. docs/deploy.md says what each
// means and what to do.
type alarm struct {
	name, description string
	metric            awscloudwatch.IMetric
	// above is the value that is still fine.
	above   float64
	minutes float64
	// missing says what no data means; nothing to worry about unless set.
	missing awscloudwatch.TreatMissingData
}

// newOperations adds the alarms and the dashboard.
func newOperations(stack awscdk.Stack, c Context, api awsappsync.CfnGraphQLApi, function awslambda.Function, letters awssqs.Queue) {
	lambda := func(name, statistic string) awscloudwatch.IMetric {
		return metric("AWS/Lambda", name, statistic, map[string]*string{"FunctionName": function.FunctionName()})
	}
	appSync := func(name, statistic string) awscloudwatch.IMetric {
		return metric("AWS/AppSync", name, statistic, map[string]*string{"GraphQLAPIId": api.AttrApiId()})
	}
	letter := metric("AWS/SQS", "ApproximateNumberOfMessagesVisible", "Maximum", map[string]*string{"QueueName": letters.QueueName()})
	second := 1000.0

	alarms := []alarm{
		{
			name: "Unannounced", metric: own(metrics.OldestUnannounced, "Maximum"), above: 120 * second, minutes: 3,
			description: "Subscribers have not been told of a change for two minutes.",
		},
		{
			name: "Sweep", metric: own(metrics.SweepDuration, "Maximum"), above: 10 * second, minutes: 3, missing: awscloudwatch.TreatMissingData_BREACHING,
			description: "Nothing sweeps, or a pass takes over ten seconds: nobody goes offline in time.",
		},
		{
			name: "DeadLetters", metric: letter, minutes: 1,
			description: "EventBridge could not hand announcements to AppSync.",
		},
		{
			name: "PublishFailures", metric: own(metrics.PublishFailures, "Sum"), minutes: 5,
			description: "EventBridge has not taken events for five minutes.",
		},
		{
			name: "Unavailable", metric: operations(presence.Unavailable), above: 5, minutes: 3,
			description: "Callers are told to try again: Redis or EventBridge is out of reach.",
		},
		{
			name: "Internal", metric: operations(presence.Internal), minutes: 1,
			description: "A defect: the cause is in the function's log.",
		},
		{
			name: "Errors", metric: ratio(lambda("Errors", "Sum"), lambda("Invocations", "Sum")), above: 10, minutes: 5,
			description: "Over ten percent of the function's runs end in an error, those refused as invalid among them.",
		},
		{
			name: "Throttles", metric: lambda("Throttles", "Sum"), minutes: 1,
			description: "Runs of the function were refused for lack of concurrency.",
		},
		{
			name: "Duration", metric: lambda("Duration", "Maximum"), above: 0.97 * second * functionTimeout.Seconds(), minutes: 3,
			description: "Runs of the function are about to be cut off by its timeout.",
		},
		{
			name: "Latency", metric: appSync("Latency", "p99"), above: second, minutes: 5,
			description: "One call in a hundred takes over a second.",
		},
		{
			name: "ServerErrors", metric: appSync("5XXError", "Sum"), minutes: 3,
			description: "AppSync itself fails.",
		},
		{
			name: "MessagesHeldUp", metric: sum(appSync("InboundMessageDelayed", "Sum"), appSync("InboundMessageDropped", "Sum")), minutes: 1,
			description: "AppSync delays or drops what subscribers should get: a quota is exceeded.",
		},
	}
	dashboard := awscloudwatch.NewDashboard(stack, jsii.String("Dashboard"), &awscloudwatch.DashboardProps{
		DashboardName: stack.StackName(), DefaultInterval: awscdk.Duration_Hours(jsii.Number(3)),
	})
	dashboard.AddWidgets(awscloudwatch.NewAlarmStatusWidget(&awscloudwatch.AlarmStatusWidgetProps{
		Title: jsii.String("Alarms"), Width: jsii.Number(24), Height: jsii.Number(3), Alarms: newAlarms(stack, c, alarms),
	}))
	for _, row := range [][]awscloudwatch.IWidget{
		{
			graph("People", own(metrics.OnlineUsers, "Maximum"), appSync("ActiveConnections", "Sum"), appSync("ActiveSubscriptions", "Sum")),
			graph("Changes by reason", search(metrics.Transitions, "Sum")),
			graph("Announcing", own(metrics.Due, "Sum"), own(metrics.Announced, "Sum"), own(metrics.Unannounced, "Maximum"), own(metrics.PublishFailures, "Sum"), letter),
		}, {
			graph("Operations by field and result", search(metrics.Operations, "Sum")),
			graph("Handler latency, p99", search(metrics.Latency, "p99")),
			graph("API latency", appSync("Latency", "p50"), appSync("Latency", "p99")),
		}, {
			graph("Oldest unannounced change", own(metrics.OldestUnannounced, "Maximum")),
			graph("Sweep", own(metrics.SweepDuration, "p99"), own(metrics.SweepLag, "Maximum")),
			graph("Messages to subscribers", appSync("OutboundMessages", "Sum"), appSync("InboundMessageDelayed", "Sum"), appSync("InboundMessageDropped", "Sum")),
		}, {
			graph("Function", lambda("Invocations", "Sum"), lambda("Errors", "Sum"), lambda("Throttles", "Sum")),
			graph("Function, at a time", lambda("ConcurrentExecutions", "Maximum")),
			graph("API", appSync("Requests", "Sum"), appSync("4XXError", "Sum"), appSync("5XXError", "Sum")),
		},
	} {
		dashboard.AddWidgets(row...)
	}
}

func newAlarms(stack awscdk.Stack, c Context, alarms []alarm) *[]interfacesawscloudwatch.IAlarmRef {
	var topic awssns.ITopic
	if c.AlarmTopicARN != "" {
		topic = awssns.Topic_FromTopicArn(stack, jsii.String("AlarmTopic"), &c.AlarmTopicARN)
	}
	var created []interfacesawscloudwatch.IAlarmRef
	for _, a := range alarms {
		props := &awscloudwatch.AlarmProps{
			AlarmName:          jsii.String(*stack.StackName() + "-" + a.name),
			AlarmDescription:   jsii.String(a.description),
			Metric:             a.metric,
			Threshold:          jsii.Number(a.above),
			ComparisonOperator: awscloudwatch.ComparisonOperator_GREATER_THAN_THRESHOLD,
			EvaluationPeriods:  jsii.Number(a.minutes),
			TreatMissingData:   awscloudwatch.TreatMissingData_NOT_BREACHING,
		}
		if a.missing != "" {
			props.TreatMissingData = a.missing
		}
		alarm := awscloudwatch.NewAlarm(stack, jsii.String(a.name+"Alarm"), props)
		if topic != nil {
			action := awscloudwatchactions.NewSnsAction(topic)
			alarm.AddAlarmAction(action)
			alarm.AddOkAction(action)
		}
		created = append(created, alarm)
	}
	return &created
}

// metric returns a metric by the minute, the period of everything here.
func metric(namespace, name, statistic string, dimensions map[string]*string) awscloudwatch.IMetric {
	return awscloudwatch.NewMetric(&awscloudwatch.MetricProps{
		Namespace: &namespace, MetricName: &name, Statistic: &statistic, DimensionsMap: &dimensions, Period: minute(),
	})
}

func minute() awscdk.Duration { return awscdk.Duration_Minutes(jsii.Number(1)) }

// own returns one of the handler's metrics that have no dimensions.
func own(m metrics.Metric, statistic string) awscloudwatch.IMetric {
	return metric(metrics.Namespace, m.Name, statistic, nil)
}

// search returns all there is of one of the handler's metrics that have
// dimensions. Dashboards take searches; alarms do not.
func search(m metrics.Metric, statistic string) awscloudwatch.IMetric {
	return awscloudwatch.NewMathExpression(&awscloudwatch.MathExpressionProps{
		Expression: jsii.String(fmt.Sprintf(`SEARCH('{%s,%s} MetricName="%s"', '%s')`, metrics.Namespace, strings.Join(m.Dimensions, ","), m.Name, statistic)),
		Label:      jsii.String(""),
		Period:     minute(),
	})
}

// operations returns how many operations had a result, over all fields.
func operations(result presence.Code) awscloudwatch.IMetric {
	m := metrics.Operations
	seen := map[string]bool{}
	var terms []awscloudwatch.IMetric
	for _, f := range resolvers.Fields() {
		if !seen[f.Name] {
			seen[f.Name] = true
			terms = append(terms, metric(metrics.Namespace, m.Name, "Sum", map[string]*string{m.Dimensions[0]: &f.Name, m.Dimensions[1]: jsii.String(string(result))}))
		}
	}
	return sum(terms...)
}

func sum(terms ...awscloudwatch.IMetric) awscloudwatch.IMetric {
	using := map[string]awscloudwatch.IMetric{}
	filled := make([]string, len(terms))
	for i, term := range terms {
		id := fmt.Sprintf("m%d", i)
		using[id], filled[i] = term, "FILL("+id+", 0)"
	}
	return awscloudwatch.NewMathExpression(&awscloudwatch.MathExpressionProps{
		Expression: jsii.String(strings.Join(filled, " + ")), UsingMetrics: &using, Period: minute(),
	})
}

// ratio returns part as percent of whole.
func ratio(part, whole awscloudwatch.IMetric) awscloudwatch.IMetric {
	return awscloudwatch.NewMathExpression(&awscloudwatch.MathExpressionProps{
		Expression: jsii.String("100 * part / whole"), UsingMetrics: &map[string]awscloudwatch.IMetric{"part": part, "whole": whole}, Period: minute(),
	})
}

func graph(title string, left ...awscloudwatch.IMetric) awscloudwatch.IWidget {
	return awscloudwatch.NewGraphWidget(&awscloudwatch.GraphWidgetProps{
		Title: &title, Left: &left, Width: jsii.Number(8), Height: jsii.Number(6), LiveData: jsii.Bool(true),
	})
}
