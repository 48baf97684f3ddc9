package infra

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsec2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsevents"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/jsii-runtime-go"

	"presence"
)

// network is where the function lives, and the groups of those who talk there.
// The way from function to redis is opened by whoever makes redis.
type network struct {
	vpc      awsec2.IVpc
	subnets  *awsec2.SubnetSelection
	function awsec2.SecurityGroup
	// id tells networks apart; it is empty for the default one. It is part of the
	// names and logical ids of what cannot move to another network: CloudFormation
	// then creates the new one beside the old one, and removes that at the end.
	id string
}

// newNetwork adds, or looks up, the VPC. A new one has isolated subnets in two
// zones and no gateway at all: what the function calls is in the VPC.
func newNetwork(stack awscdk.Stack, c Context) (network, error) {
	n := network{subnets: &awsec2.SubnetSelection{SubnetType: awsec2.SubnetType_PRIVATE_ISOLATED}}
	if c.VPCID == "" {
		if c.Zones != nil {
			n.id = networkID(c.Zones...)
		}
		n.vpc = newVPC(stack, "Vpc"+n.id, c.Zones)
	} else {
		n.vpc = awsec2.Vpc_FromLookup(stack, jsii.String("Vpc"), &awsec2.VpcLookupOptions{VpcId: &c.VPCID})
		subnets, err := chooseSubnets(n.vpc, c)
		if err != nil {
			return network{}, err
		}
		n.subnets = &awsec2.SubnetSelection{Subnets: &subnets}
		parts := []string{c.VPCID}
		for _, s := range subnets {
			parts = append(parts, *s.SubnetId())
		}
		n.id = networkID(parts...)
	}
	n.function = newSecurityGroup(stack, n.vpc, "FunctionSecurityGroup", "Presence function")
	return n, nil
}

func newVPC(stack awscdk.Stack, id string, zones []string) awsec2.IVpc {
	props := &awsec2.VpcProps{
		NatGateways: jsii.Number(0),
		SubnetConfiguration: &[]*awsec2.SubnetConfiguration{
			{Name: jsii.String("isolated"), SubnetType: awsec2.SubnetType_PRIVATE_ISOLATED},
		},
		// Emptying the default group takes a custom resource with a function of
		// its own. Nothing is in that group, and it lets in only its members.
		RestrictDefaultSecurityGroup: jsii.Bool(false),
	}
	if zones != nil {
		props.AvailabilityZones = jsii.Strings(zones...)
	} else {
		props.MaxAzs = jsii.Number(2)
	}
	vpc := awsec2.NewVpc(stack, &id, props)
	suppress(vpc, "Three parties talk here, all of this stack, in subnets without a route out, through security groups that name each other: flow logs would cost more than they tell.", "AwsSolutions-VPC7")
	return vpc
}

// networkID returns an id for the network of the given zones or subnets.
func networkID(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, ",")))
	return hex.EncodeToString(sum[:4])
}

const (
	minZones = 2 // What a cache of either kind needs.
	maxZones = 3 // What a serverless cache takes.
)

// chooseSubnets returns the subnets of an existing VPC that function, cache and
// endpoint use: those of subnetIds, or else one a zone, isolated ones if they are
// in two zones, otherwise private ones. A cache and an endpoint take only one
// subnet a zone.
func chooseSubnets(vpc awsec2.IVpc, c Context) ([]awsec2.ISubnet, error) {
	isolated, private, public := *vpc.IsolatedSubnets(), *vpc.PrivateSubnets(), *vpc.PublicSubnets()
	if *vpc.VpcId() != c.VPCID {
		// Before it has looked up the VPC, cdk runs the app with a made-up one, and
		// throws the result away.
		return private, nil
	}
	if len(c.SubnetIDs) > 0 {
		all := slices.Concat(isolated, private, public)
		var chosen []awsec2.ISubnet
		for _, id := range c.SubnetIDs {
			i := slices.IndexFunc(all, func(s awsec2.ISubnet) bool { return *s.SubnetId() == id })
			if i < 0 {
				return nil, presence.Errorf(presence.InvalidArgument, "The VPC %s has no subnet %s of subnetIds. If it is new, run: npx aws-cdk context --clear.", c.VPCID, id)
			}
			chosen = append(chosen, all[i])
		}
		if zones := len(oneByZone(chosen)); zones < len(chosen) || zones < minZones {
			return nil, presence.Errorf(presence.InvalidArgument, "subnetIds must name %d or %d subnets, each in a zone of its own.", minZones, maxZones)
		}
		return chosen, nil
	}
	if len(isolated)+len(private) == 0 {
		return nil, presence.Errorf(presence.InvalidArgument, "The VPC %s has neither isolated nor private subnets: add some in two zones, or name others in subnetIds.", c.VPCID)
	}
	for _, subnets := range [][]awsec2.ISubnet{isolated, private, slices.Concat(isolated, private)} {
		if chosen := oneByZone(subnets); len(chosen) >= minZones {
			return chosen[:min(len(chosen), maxZones)], nil
		}
	}
	return nil, presence.Errorf(presence.InvalidArgument, "The isolated and private subnets of the VPC %s are in one zone: the cache needs two. Add one in another zone, or name others in subnetIds.", c.VPCID)
}

// oneByZone returns the first subnet of each zone, in the order of the zones.
func oneByZone(subnets []awsec2.ISubnet) []awsec2.ISubnet {
	var chosen []awsec2.ISubnet
	seen := map[string]bool{}
	for _, s := range subnets {
		if zone := *s.AvailabilityZone(); !seen[zone] {
			seen[zone] = true
			chosen = append(chosen, s)
		}
	}
	slices.SortStableFunc(chosen, func(a, b awsec2.ISubnet) int { return strings.Compare(*a.AvailabilityZone(), *b.AvailabilityZone()) })
	return chosen
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
