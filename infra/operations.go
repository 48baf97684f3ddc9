package infra

import (
	"fmt"
	"slices"
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
	"presence/internal/config"
	"presence/internal/metrics"
	"presence/resolvers"
)

// alarm is one thing somebody should look at. docs/deploy.md says what each
// means and what to do.
type alarm struct {
	name, description string
	metric            awscloudwatch.IMetric
	// above is the value that is still fine.
	above float64
	// minutes are how many are looked at, and breaching in how many of them the
	// metric must be above; zero means all. Some metrics miss a minute now and then.
	minutes, breaching float64
	// missing says what no data means; nothing to worry about unless set.
	missing awscloudwatch.TreatMissingData
}

// newOperations adds the alarms and the dashboard.
func newOperations(stack awscdk.Stack, c Context, api awsappsync.CfnGraphQLApi, function awslambda.Function, letters awssqs.Queue, cache []alarm) {
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
			name: "Unannounced", metric: c.own(metrics.OldestUnannounced, "Maximum"), above: 120 * second, breaching: 3, minutes: 5,
			description: "Subscribers have not been told of a change for two minutes.",
		},
		{
			name: "Sweep", metric: c.own(metrics.SweepDuration, "Maximum"), above: 10 * second, minutes: 3, missing: awscloudwatch.TreatMissingData_BREACHING,
			description: "Nothing sweeps, or a pass takes over ten seconds: nobody goes offline in time.",
		},
		{
			name: "DeadLetters", metric: letter, minutes: 1,
			description: "EventBridge could not hand announcements to AppSync.",
		},
		{
			name: "PublishFailures", metric: c.own(metrics.PublishFailures, "Sum"), breaching: 4, minutes: 6,
			description: "EventBridge has not taken events for five minutes.",
		},
		{
			name: "Unavailable", metric: c.operations(presence.Unavailable), above: 5, breaching: 3, minutes: 5,
			description: "Callers are told to try again: Redis or EventBridge is out of reach.",
		},
		{
			// Calls that are refused or told to try again are successes to Lambda.
			name: "Errors", metric: lambda("Errors", "Sum"), minutes: 1,
			description: "A run of the function failed: a defect, a crash, the time limit, or a sweep without Redis. The cause is in the function's log.",
		},
		{
			name: "Throttles", metric: lambda("Throttles", "Sum"), minutes: 1,
			description: "Runs of the function were refused for lack of concurrency.",
		},
		{
			name: "Duration", metric: lambda("Duration", "Maximum"), above: 0.97 * second * config.FunctionTimeout.Seconds(), breaching: 3, minutes: 5,
			description: "Runs of the function are about to be cut off by its timeout.",
		},
		{
			name: "Latency", metric: appSync("Latency", "p99"), above: second, minutes: 5,
			description: "One call in a hundred takes over a second.",
		},
		{
			name: "ServerErrors", metric: sum(appSync("5XXError", "Sum"), appSync("ConnectServerError", "Sum"), appSync("SubscribeServerError", "Sum")), breaching: 3, minutes: 5,
			description: "AppSync itself fails.",
		},
		{
			name: "ClientErrors", metric: appSync("4XXError", "Sum"), above: 60, breaching: 3, minutes: 5,
			description: "AppSync refuses over a request a second: a quota is exceeded, or tokens are not valid.",
		},
		{
			name: "ConnectErrors", metric: sum(appSync("ConnectClientError", "Sum"), appSync("SubscribeClientError", "Sum")), above: 60, breaching: 3, minutes: 5,
			description: "AppSync refuses over a connection or subscription a second: a quota is exceeded, or tokens are not valid.",
		},
		{
			name: "MessagesHeldUp", metric: sum(appSync("InboundMessageDelayed", "Sum"), appSync("InboundMessageDropped", "Sum")), minutes: 1,
			description: "AppSync delays or drops what subscribers should get: a quota is exceeded.",
		},
	}
	alarms = append(alarms, cache...)
	dashboard := awscloudwatch.NewDashboard(stack, jsii.String("Dashboard"), &awscloudwatch.DashboardProps{
		DashboardName: stack.StackName(), DefaultInterval: awscdk.Duration_Hours(jsii.Number(3)),
	})
	dashboard.AddWidgets(awscloudwatch.NewAlarmStatusWidget(&awscloudwatch.AlarmStatusWidgetProps{
		Title: jsii.String("Alarms"), Width: jsii.Number(24), Height: jsii.Number(3), Alarms: newAlarms(stack, c, alarms),
	}))
	for _, row := range [][]awscloudwatch.IWidget{
		{
			graph("People", c.own(metrics.OnlineUsers, "Maximum"), appSync("ActiveConnections", "Sum"), appSync("ActiveSubscriptions", "Sum")),
			graph("Changes by reason", c.search(metrics.Transitions, "Sum")),
			graph("Announcing", c.own(metrics.Due, "Sum"), c.own(metrics.Announced, "Sum"), c.own(metrics.Unannounced, "Maximum"), c.own(metrics.PublishFailures, "Sum"), letter),
		}, {
			graph("Operations by field and result", c.search(metrics.Operations, "Sum")),
			graph("Handler latency, p99", c.search(metrics.Latency, "p99")),
			graph("API latency", appSync("Latency", "p50"), appSync("Latency", "p99")),
		}, {
			graph("Oldest unannounced change", c.own(metrics.OldestUnannounced, "Maximum")),
			graph("Sweep", c.own(metrics.SweepDuration, "p99"), c.own(metrics.SweepLag, "Maximum")),
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
		if a.breaching > 0 {
			props.DatapointsToAlarm = jsii.Number(a.breaching)
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

// metricsNamespace is where the function puts its metrics. Each deployment has its
// own, or one would hide what is wrong with the other.
func (c Context) metricsNamespace() string { return metrics.Namespace + "/" + c.Name }

// own returns one of the handler's metrics that have no dimensions.
func (c Context) own(m metrics.Metric, statistic string) awscloudwatch.IMetric {
	return metric(c.metricsNamespace(), m.Name, statistic, nil)
}

// search returns all there is of one of the handler's metrics that have
// dimensions. Dashboards take searches; alarms do not.
func (c Context) search(m metrics.Metric, statistic string) awscloudwatch.IMetric {
	return awscloudwatch.NewMathExpression(&awscloudwatch.MathExpressionProps{
		Expression: jsii.String(fmt.Sprintf(`SEARCH('{"%s",%s} MetricName="%s"', '%s')`, c.metricsNamespace(), strings.Join(m.Dimensions, ","), m.Name, statistic)),
		Label:      jsii.String(""),
		Period:     minute(),
	})
}

// operations returns how many operations had a result, over all fields. An alarm
// can name no result for all fields at once, because it takes no search.
func (c Context) operations(result presence.Code) awscloudwatch.IMetric {
	m := metrics.Operations
	var terms []awscloudwatch.IMetric
	for _, name := range fieldNames() {
		terms = append(terms, metric(c.metricsNamespace(), m.Name, "Sum", map[string]*string{m.Dimensions[0]: &name, m.Dimensions[1]: jsii.String(string(result))}))
	}
	return sum(terms...)
}

// fieldNames returns the names of all fields without their types, as metrics
// have them: a query and a mutation of one name are one.
func fieldNames() []string {
	var names []string
	for _, f := range resolvers.Fields() {
		_, name, _ := strings.Cut(f, ".")
		names = append(names, name)
	}
	slices.Sort(names)
	return slices.Compact(names)
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

// maximum returns the greatest of the terms.
func maximum(terms ...awscloudwatch.IMetric) awscloudwatch.IMetric {
	using := map[string]awscloudwatch.IMetric{}
	ids := make([]string, len(terms))
	for i, term := range terms {
		ids[i] = fmt.Sprintf("m%d", i)
		using[ids[i]] = term
	}
	return awscloudwatch.NewMathExpression(&awscloudwatch.MathExpressionProps{
		Expression: jsii.String("MAX([" + strings.Join(ids, ", ") + "])"), UsingMetrics: &using, Period: minute(),
	})
}

func graph(title string, left ...awscloudwatch.IMetric) awscloudwatch.IWidget {
	return awscloudwatch.NewGraphWidget(&awscloudwatch.GraphWidgetProps{
		Title: &title, Left: &left, Width: jsii.Number(8), Height: jsii.Number(6), LiveData: jsii.Bool(true),
	})
}
