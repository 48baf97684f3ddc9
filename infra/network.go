package infra

import (
	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsec2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsevents"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/jsii-runtime-go"
)

// network is where the function lives, and the groups of those who talk there.
// The way from function to redis is opened by whoever makes redis.
type network struct {
	vpc      awsec2.IVpc
	subnets  *awsec2.SubnetSelection
	function awsec2.SecurityGroup
}

// newNetwork adds, or looks up, the VPC. A new one has isolated subnets in two
// zones and no gateway at all: what the function calls is in the VPC.
func newNetwork(stack awscdk.Stack, c Context) network {
	n := network{subnets: &awsec2.SubnetSelection{SubnetType: awsec2.SubnetType_PRIVATE_ISOLATED}}
	if c.VPCID == "" {
		n.vpc = awsec2.NewVpc(stack, jsii.String("Vpc"), &awsec2.VpcProps{
			MaxAzs:      jsii.Number(2),
			NatGateways: jsii.Number(0),
			SubnetConfiguration: &[]*awsec2.SubnetConfiguration{
				{Name: jsii.String("isolated"), SubnetType: awsec2.SubnetType_PRIVATE_ISOLATED},
			},
			// Emptying the default group takes a custom resource with a function of
			// its own. Nothing is in that group, and it lets in only its members.
			RestrictDefaultSecurityGroup: jsii.Bool(false),
		})
		suppress(n.vpc, "Three parties talk here, all of this stack, in subnets without a route out, through security groups that name each other: flow logs would cost more than they tell.", "AwsSolutions-VPC7")
	} else {
		n.vpc = awsec2.Vpc_FromLookup(stack, jsii.String("Vpc"), &awsec2.VpcLookupOptions{VpcId: &c.VPCID})
		if len(*n.vpc.IsolatedSubnets()) == 0 {
			n.subnets.SubnetType = awsec2.SubnetType_PRIVATE_WITH_EGRESS
		}
	}
	n.function = newSecurityGroup(stack, n.vpc, "FunctionSecurityGroup", "Presence function")
	return n
}

// newSecurityGroup adds a group that lets nothing in or out until told to.
func newSecurityGroup(stack awscdk.Stack, vpc awsec2.IVpc, id, description string) awsec2.SecurityGroup {
	group := awsec2.NewSecurityGroup(stack, jsii.String(id), &awsec2.SecurityGroupProps{
		Vpc: vpc, Description: jsii.String(description), AllowAllOutbound: jsii.Bool(false),
	})
	// A group without an egress rule of its own is created with one that lets
	// everything out. The rules between groups are resources of their own, so the
	// CDK would leave the group without.
	group.Node().DefaultChild().(awsec2.CfnSecurityGroup).SetSecurityGroupEgress([]any{&awsec2.CfnSecurityGroup_EgressProperty{
		CidrIp: jsii.String("127.0.0.1/32"), IpProtocol: jsii.String("-1"), Description: jsii.String("Nowhere"),
	}})
	return group
}

// newEndpoint adds the function's way to EventBridge: an interface endpoint,
// which costs less than half of a NAT gateway and lets out nothing else. Only
// role may use it, and only for the bus.
func newEndpoint(stack awscdk.Stack, n network, bus awsevents.EventBus, role awsiam.Role) awsec2.InterfaceVpcEndpoint {
	group := newSecurityGroup(stack, n.vpc, "EndpointSecurityGroup", "Presence endpoint for EventBridge")
	endpoint := awsec2.NewInterfaceVpcEndpoint(stack, jsii.String("Endpoint"), &awsec2.InterfaceVpcEndpointProps{
		Vpc:               n.vpc,
		Subnets:           n.subnets,
		Service:           awsec2.InterfaceVpcEndpointAwsService_EVENTBRIDGE(),
		SecurityGroups:    &[]awsec2.ISecurityGroup{group},
		Open:              jsii.Bool(false),
		PrivateDnsEnabled: jsii.Bool(false),
	})
	n.function.Connections().AllowTo(group, awsec2.Port_Tcp(jsii.Number(443)), jsii.String("Function to EventBridge"))
	endpoint.AddToPolicy(awsiam.NewPolicyStatement(&awsiam.PolicyStatementProps{
		Principals: &[]awsiam.IPrincipal{awsiam.NewAnyPrincipal()},
		Actions:    jsii.Strings("events:PutEvents"),
		Resources:  &[]*string{bus.EventBusArn()},
		Conditions: &map[string]any{"ArnEquals": map[string]any{"aws:PrincipalArn": role.RoleArn()}},
	}))
	return endpoint
}
