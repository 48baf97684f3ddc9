package infra

import (
	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsec2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awselasticache"
	"github.com/aws/jsii-runtime-go"

	"presence/internal/config"
)

// store is Redis as the function is told of it.
type store struct {
	config.Redis
	// connect are the ARNs to allow elasticache:Connect on; nil where the cache
	// knows the function by other means.
	connect []*string
}

// accessString is the Redis ACL of the function's user: the store's keys, and the
// commands of its scripts and of the client library, which asks for the nodes of
// a cluster. A test runs the store with just that.
const accessString = "on ~p* resetchannels -@all +@read +@write +@scripting +@connection +time +cluster|slots +cluster|shards +command -@dangerous"

const redisPortDefault = 6379

// newStore adds Redis, or opens the way to an existing one.
//
// A cache of the stack authenticates by IAM: there is no secret to keep, rotate
// or read, so no Secrets Manager and no second interface endpoint to reach it,
// and access ends with the role. A password in Secrets Manager would cost
// $0.40 a month and the endpoint $14.60 on top.
func newStore(stack awscdk.Stack, c Context, n network) store {
	if c.external() {
		return existingStore(stack, c, n)
	}
	group := newSecurityGroup(stack, n.vpc, "RedisSecurityGroup", "Presence cache")
	user := awselasticache.NewCfnUser(stack, jsii.String("CacheUser"), &awselasticache.CfnUserProps{
		Engine: jsii.String("valkey"),
		// With IAM the two must be equal.
		UserId:             &c.Name,
		UserName:           &c.Name,
		AuthenticationMode: map[string]string{"Type": "iam"},
		AccessString:       jsii.String(accessString),
	})
	// A group of engine valkey needs no user named default, so nobody can come in
	// without a token.
	users := awselasticache.NewCfnUserGroup(stack, jsii.String("CacheUsers"), &awselasticache.CfnUserGroupProps{
		Engine: jsii.String("valkey"), UserGroupId: &c.Name, UserIds: &[]*string{user.Ref()},
	})
	var subnets []any
	for _, id := range *n.vpc.SelectSubnets(n.subnets).SubnetIds {
		subnets = append(subnets, id)
	}
	s := store{Redis: config.Redis{RedisIAMUser: c.Name, RedisIAMCache: c.Name}}
	if c.Redis == serverless {
		// Clients are given port 6380 too when they ask for the cluster's nodes: it
		// leads to the replicas.
		n.function.Connections().AllowTo(group, awsec2.Port_TcpRange(jsii.Number(redisPortDefault), jsii.Number(redisPortDefault+1)), jsii.String("Function to Redis"))
		cache := awselasticache.NewCfnServerlessCache(stack, jsii.String("Cache"), &awselasticache.CfnServerlessCacheProps{
			ServerlessCacheName: &c.Name,
			Description:         jsii.String("Presence: who is online, and where"),
			Engine:              jsii.String("valkey"),
			MajorEngineVersion:  jsii.String("8"),
			SubnetIds:           &subnets,
			SecurityGroupIds:    &[]any{group.SecurityGroupId()},
			UserGroupId:         users.Ref(),
		})
		s.RedisURL = "rediss://" + *cache.AttrEndpointAddress() + ":" + *cache.AttrEndpointPort()
		s.RedisCluster, s.RedisIAMServerless = true, true
		s.connect = []*string{cache.AttrArn(), user.AttrArn()}
		return s
	}
	n.function.Connections().AllowTo(group, awsec2.Port_Tcp(jsii.Number(redisPortDefault)), jsii.String("Function to Redis"))
	cache := awselasticache.NewCfnReplicationGroup(stack, jsii.String("Cache"), &awselasticache.CfnReplicationGroupProps{
		ReplicationGroupId:          &c.Name,
		ReplicationGroupDescription: jsii.String("Presence: who is online, and where"),
		Engine:                      jsii.String("valkey"),
		EngineVersion:               jsii.String("8.0"),
		CacheNodeType:               &c.RedisNodeType,
		// A full cache must say so: by default ElastiCache would make room by dropping
		// what has a time to live, which is users' sessions and pages.
		CacheParameterGroupName: awselasticache.NewCfnParameterGroup(stack, jsii.String("CacheParameters"), &awselasticache.CfnParameterGroupProps{
			CacheParameterGroupFamily: jsii.String("valkey8"), Description: jsii.String("Presence cache"),
			Properties: map[string]string{"maxmemory-policy": "noeviction"},
		}).Ref(),
		NumCacheClusters:         jsii.Number(2),
		AutomaticFailoverEnabled: jsii.Bool(true),
		MultiAzEnabled:           jsii.Bool(true),
		AtRestEncryptionEnabled:  jsii.Bool(true),
		TransitEncryptionEnabled: jsii.Bool(true),
		TransitEncryptionMode:    jsii.String("required"),
		CacheSubnetGroupName: awselasticache.NewCfnSubnetGroup(stack, jsii.String("CacheSubnets"), &awselasticache.CfnSubnetGroupProps{
			Description: jsii.String("Presence cache"), SubnetIds: &subnets,
		}).Ref(),
		SecurityGroupIds: &[]*string{group.SecurityGroupId()},
		UserGroupIds:     &[]*string{users.Ref()},
	})
	s.RedisURL = "rediss://" + *cache.AttrPrimaryEndPointAddress() + ":" + *cache.AttrPrimaryEndPointPort()
	arn := stack.FormatArn(&awscdk.ArnComponents{
		Service: jsii.String("elasticache"), Resource: jsii.String("replicationgroup"), ResourceName: cache.Ref(), ArnFormat: awscdk.ArnFormat_COLON_RESOURCE_NAME,
	})
	s.connect = []*string{arn, user.AttrArn()}
	suppress(cache, "The user group lets in one user, by IAM tokens of minutes; that takes the place of a password all share.", "AwsSolutions-AEC6")
	suppress(cache, "Valkey's standard port: the group lets in the function alone, and a port nobody expects would protect nothing.", "AwsSolutions-AEC5")
	return s
}

// existingStore lets the function reach a Redis that is somebody else's.
func existingStore(stack awscdk.Stack, c Context, n network) store {
	group := awsec2.SecurityGroup_FromSecurityGroupId(stack, jsii.String("RedisSecurityGroup"), &c.RedisSecurityGroupID, nil)
	s := store{Redis: config.Redis{RedisURL: c.Redis, StatusRedisURL: c.StatusRedisURL, RedisCluster: c.RedisCluster}}
	opened := map[float64]bool{}
	for _, raw := range []string{c.Redis, c.StatusRedisURL} {
		if raw == "" {
			continue
		}
		port, err := redisPort(raw)
		if err != nil {
			panic(err) // ParseContext has read it.
		}
		if !opened[port] {
			opened[port] = true
			n.function.Connections().AllowTo(group, awsec2.Port_Tcp(&port), jsii.String("Function to Redis"))
		}
	}
	return s
}
