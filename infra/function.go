package infra

import (
	"archive/zip"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsec2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsevents"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awslambda"
	"github.com/aws/aws-cdk-go/awscdk/v2/awslogs"
	"github.com/aws/jsii-runtime-go"

	"presence/internal/config"
)

// handlerPackage is the function's main package.
const handlerPackage = "presence/cmd/lambda"

// memoryMB is the smallest size Lambda has; docs/deploy.md has the measurement
// that says it is enough.
const memoryMB = 128

// BuildFunction builds the function's deployment package into dir and returns
// the zip's path. The Go toolchain alone does it, offline and without Docker.
// Equal sources give equal bytes: no paths (-trimpath), no VCS stamp, no file
// times, so a deployment that changes nothing uploads nothing.
func BuildFunction(ctx context.Context, dir string) (string, error) {
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-tags", "lambda.norpc", "-ldflags", "-s -w", "-o", filepath.Join(dir, "bootstrap"), handlerPackage)
	build.Env = append(os.Environ(), "GOOS=linux", "GOARCH=arm64", "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("infra: go build %s: %w\n%s", handlerPackage, err, out)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return "", err
	}
	defer func() { _ = root.Close() }()
	bootstrap, err := root.ReadFile("bootstrap")
	if err != nil {
		return "", err
	}
	var b bytes.Buffer
	archive := zip.NewWriter(&b)
	// Zipped here and not by the CDK, because Lambda needs the executable bit,
	// which a build on Windows could not set on a file.
	header := &zip.FileHeader{Name: "bootstrap", Method: zip.Deflate}
	header.SetMode(0o755)
	w, err := archive.CreateHeader(header)
	if err != nil {
		return "", err
	}
	if _, err := w.Write(bootstrap); err != nil {
		return "", err
	}
	if err := archive.Close(); err != nil {
		return "", err
	}
	return filepath.Join(dir, "function.zip"), root.WriteFile("function.zip", b.Bytes(), 0o600)
}

// newFunction adds the one function: AppSync's resolver and the sweep.
func newFunction(stack awscdk.Stack, c Context, zip string, network network, store store, bus awsevents.EventBus) awslambda.Function {
	logs := newLogGroup(stack, "FunctionLogs", c, nil)
	role := awsiam.NewRole(stack, jsii.String("FunctionRole"), &awsiam.RoleProps{
		// A function's role must be in the function's own account, so this role is of
		// no use to others.
		AssumedBy: awsiam.NewServicePrincipal(jsii.String("lambda.amazonaws.com"), nil),
	})
	allow := func(resources []*string, actions ...string) {
		role.AddToPolicy(awsiam.NewPolicyStatement(&awsiam.PolicyStatementProps{Actions: jsii.Strings(actions...), Resources: &resources}))
	}
	allow([]*string{logs.AttrArn()}, "logs:CreateLogStream", "logs:PutLogEvents")
	allow([]*string{bus.EventBusArn()}, "events:PutEvents")
	if store.connect != nil {
		allow(store.connect, "elasticache:Connect")
	}
	// Lambda makes the function's network interfaces with the function's own
	// role. The Lambda developer guide allows a resource narrower than * only in
	// this form, and none for the two that describe.
	allow([]*string{stack.FormatArn(&awscdk.ArnComponents{Service: jsii.String("ec2"), Resource: jsii.String("*"), ResourceName: jsii.String("*")})},
		"ec2:CreateNetworkInterface", "ec2:DeleteNetworkInterface", "ec2:AssignPrivateIpAddresses", "ec2:UnassignPrivateIpAddresses")
	allow(*jsii.Strings("*"), "ec2:DescribeNetworkInterfaces", "ec2:DescribeSubnets")

	settings := c.Config
	settings.Redis = store.Redis
	settings.EventBus = *bus.EventBusName()
	settings.MetricsNamespace = c.metricsNamespace()
	environment := settings.Env()
	// The endpoint has no private DNS, which would take over every call to
	// EventBridge from a VPC shared with others.
	endpoint := newEndpoint(stack, network, bus, role)
	dns := awscdk.Fn_Select(jsii.Number(1), awscdk.Fn_Split(jsii.String(":"), awscdk.Fn_Select(jsii.Number(0), endpoint.VpcEndpointDnsEntries()), nil))
	environment["AWS_ENDPOINT_URL_EVENTBRIDGE"] = "https://" + *dns

	props := &awslambda.FunctionProps{
		Description:  jsii.String("Presence API: AppSync's resolver, and the sweep of each minute."),
		Runtime:      awslambda.Runtime_PROVIDED_AL2023(),
		Architecture: awslambda.Architecture_ARM_64(),
		Handler:      jsii.String("bootstrap"),
		Code:         awslambda.Code_FromAsset(jsii.String(zip), nil),
		MemorySize:   jsii.Number(memoryMB),
		Timeout:      awscdk.Duration_Seconds(jsii.Number(config.FunctionTimeout.Seconds())),
		Environment:  stringMap(environment),
		Role:         role,
		LogGroup:     awslogs.LogGroup_FromLogGroupName(stack, jsii.String("FunctionLogGroup"), logs.Ref()),
		// The lines START, END and REPORT of each run would cost more than the run
		// itself. Only the JSON format lets one leave them out; it takes metrics and
		// log lines, JSON both, as they are written.
		LoggingFormat:    awslambda.LoggingFormat_JSON,
		SystemLogLevelV2: awslambda.SystemLogLevel_WARN,
		Vpc:              network.vpc,
		VpcSubnets:       network.subnets,
		// Only subnetIds can choose public ones. That the function reaches nothing
		// outside from there is as it should be.
		AllowPublicSubnet: jsii.Bool(true),
		SecurityGroups:    &[]awsec2.ISecurityGroup{network.function},
		// A run that comes late is the next minute's, and one that failed is made
		// good by the next: nothing is gained by trying again.
		MaxEventAge:   awscdk.Duration_Minutes(jsii.Number(1)),
		RetryAttempts: jsii.Number(0),
	}
	if n := c.concurrency(); n > 0 {
		props.ReservedConcurrentExecutions = jsii.Number(float64(n))
	}
	if c.XRay {
		props.Tracing = awslambda.Tracing_ACTIVE
	}
	function := awslambda.NewFunction(stack, jsii.String("Function"), props)
	suppress(role, "EC2 describes network interfaces and subnets only for all resources, and takes the creation and deletion of interfaces by Lambda for all of this account and region at the narrowest. X-Ray, where it is on, has no resources. The function itself has no route to either API.",
		"AwsSolutions-IAM5[Resource::*]", `AwsSolutions-IAM5[/^Resource::arn:.+:ec2:[^*]+:\*\/\*$/]`)
	return function
}

// newLogGroup adds a log group, named by CloudFormation unless name is given.
// Without one of ours, the services would make theirs, kept for ever.
func newLogGroup(stack awscdk.Stack, id string, c Context, name *string) awslogs.CfnLogGroup {
	group := awslogs.NewCfnLogGroup(stack, jsii.String(id), &awslogs.CfnLogGroupProps{
		LogGroupName: name, RetentionInDays: jsii.Number(float64(c.LogRetentionDays)),
	})
	group.ApplyRemovalPolicy(c.removalPolicy(), nil)
	return group
}

// stringMap returns m as the CDK takes it.
func stringMap(m map[string]string) *map[string]*string {
	pointers := make(map[string]*string, len(m))
	for k, v := range m {
		pointers[k] = jsii.String(v)
	}
	return &pointers
}
