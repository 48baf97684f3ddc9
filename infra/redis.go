package infra

import (
	"fmt"
	"strings"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awscloudwatch"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsec2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awselasticache"
	"github.com/aws/jsii-runtime-go"

	"presence/internal/config"
	"presence/internal/redisstore"
)

// store is Redis as the function is told of it.
type store struct {
	config.Redis
	// connect are the ARNs to allow elasticache:Connect on; nil where the cache
	// knows the function by other means.
	connect []*string
	// alarms watch over a cache of the stack.
	alarms []alarm
}

// accessString is the Redis ACL of the function's user: the store's keys, and the
// commands of its scripts and of the client library, which asks for the nodes of
// a cluster. A test runs the store with just that.
const accessString = "on ~" + redisstore.DefaultPrefix + "* resetchannels -@all +@read +@write +@scripting +@connection +time +cluster|slots +cluster|shards +command -@dangerous"

const redisPortDefault = 6379

// newStore adds Redis, or opens the way to an existing one.
//
// A cache of the stack authenticates by IAM: there is no secret to keep, rotate
// or read, so no Secrets Manager and no second interface endpoint to reach it,
// and access ends with the role. A password in Secrets Manager would cost
// $0.40 a month and the endpoint $14.60 on top.
//
// The two kinds have logical ids of their own: CloudFormation refuses to turn a
// resource into one of another type.
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
	cacheName := strings.TrimSuffix(c.Name+"-"+n.id, "-")
	s := store{Redis: config.Redis{RedisIAMUser: c.Name, RedisIAMCache: cacheName}}
	if c.Redis == serverless {
		// Clients are given port 6380 too when they ask for the cluster's nodes: it
		// leads to the replicas.
		n.function.Connections().AllowTo(group, awsec2.Port_TcpRange(jsii.Number(redisPortDefault), jsii.Number(redisPortDefault+1)), jsii.String("Function to Redis"))
		cache := awselasticache.NewCfnServerlessCache(stack, jsii.String("ServerlessCache"+n.id), &awselasticache.CfnServerlessCacheProps{
			ServerlessCacheName: &cacheName,
			Description:         jsii.String("Presence: who is online, and where"),
			Engine:              jsii.String("valkey"),
			MajorEngineVersion:  jsii.String("8"),
			CacheUsageLimits: &awselasticache.CfnServerlessCache_CacheUsageLimitsProperty{
				DataStorage:   &awselasticache.CfnServerlessCache_DataStorageProperty{Maximum: jsii.Number(float64(c.RedisMaxGB)), Unit: jsii.String("GB")},
				EcpuPerSecond: &awselasticache.CfnServerlessCache_ECPUPerSecondProperty{Maximum: jsii.Number(float64(c.RedisMaxECPU))},
			},
			SubnetIds:        &subnets,
			SecurityGroupIds: &[]any{group.SecurityGroupId()},
			UserGroupId:      users.Ref(),
		})
		s.RedisURL = "rediss://" + *cache.AttrEndpointAddress() + ":" + *cache.AttrEndpointPort()
		s.RedisCluster, s.RedisIAMServerless = true, true
		s.connect = []*string{cache.AttrArn(), user.AttrArn()}
		s.alarms = serverlessAlarms(c, cacheName)
		return s
	}
	n.function.Connections().AllowTo(group, awsec2.Port_Tcp(jsii.Number(redisPortDefault)), jsii.String("Function to Redis"))
	cache := awselasticache.NewCfnReplicationGroup(stack, jsii.String("ReplicationGroup"+n.id), &awselasticache.CfnReplicationGroupProps{
		ReplicationGroupId:          &cacheName,
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
		NumCacheClusters:         jsii.Number(nodeCount),
		AutomaticFailoverEnabled: jsii.Bool(true),
		MultiAzEnabled:           jsii.Bool(true),
		AtRestEncryptionEnabled:  jsii.Bool(true),
		TransitEncryptionEnabled: jsii.Bool(true),
		TransitEncryptionMode:    jsii.String("required"),
		CacheSubnetGroupName: awselasticache.NewCfnSubnetGroup(stack, jsii.String("CacheSubnets"+n.id), &awselasticache.CfnSubnetGroupProps{
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
	s.alarms = nodeAlarms(cacheName)
	suppress(cache, "The user group lets in one user, by IAM tokens of minutes; that takes the place of a password all share.", "AwsSolutions-AEC6")
	suppress(cache, "Valkey's standard port: the group lets in the function alone, and a port nobody expects would protect nothing.", "AwsSolutions-AEC5")
	return s
}

// serverlessAlarms watch over a serverless cache. A full or throttled cache
// refuses what it is told.
func serverlessAlarms(c Context, name string) []alarm {
	cache := func(metricName, statistic string) awscloudwatch.IMetric {
		return metric("AWS/ElastiCache", metricName, statistic, map[string]*string{"clusterId": &name})
	}
	return []alarm{
		{
			name: "CacheThrottled", metric: cache("ThrottledCmds", "Sum"), breaching: 3, minutes: 5,
			description: "The cache refuses commands: its limit is reached, or the load grew faster than it could.",
		},
		{
			name: "CacheMemory", metric: cache("BytesUsedForCache", "Maximum"), above: 0.8e9 * float64(c.RedisMaxGB), breaching: 3, minutes: 5,
			description: "The cache holds over 80 % of the data it may.",
		},
		{
			name: "CacheLoad", metric: cache("ElastiCacheProcessingUnits", "Sum"), above: 0.8 * 60 * float64(c.RedisMaxECPU), breaching: 3, minutes: 5,
			description: "The cache does over 80 % of the work it may.",
		},
	}
}

// nodeCount is how many nodes a replication group has: a primary and a replica.
const nodeCount = 2

// nodeAlarms watch over the nodes of a replication group, which ElastiCache names
// by the group and a number of three digits.
func nodeAlarms(group string) []alarm {
	nodes := func(metricName string) awscloudwatch.IMetric {
		var terms []awscloudwatch.IMetric
		for i := range nodeCount {
			terms = append(terms, metric("AWS/ElastiCache", metricName, "Maximum", map[string]*string{"CacheClusterId": jsii.String(fmt.Sprintf("%s-%03d", group, i+1))}))
		}
		return maximum(terms...)
	}
	return []alarm{
		{
			name: "CacheMemory", metric: nodes("DatabaseMemoryUsagePercentage"), above: 80, breaching: 3, minutes: 5,
			description: "A node holds over 80 % of the data it may.",
		},
		{
			name: "CacheLoad", metric: nodes("EngineCPUUtilization"), above: 80, breaching: 3, minutes: 5,
			description: "A node's engine is busy over 80 % of the time.",
		},
	}
}

// existingStore lets the function reach a Redis that is somebody else's.
func existingStore(stack awscdk.Stack, c Context, n network) store {
	group := awsec2.SecurityGroup_FromSecurityGroupId(stack, jsii.String("RedisSecurityGroup"), &c.RedisSecurityGroupID, nil)
	s := store{Redis: config.Redis{RedisURL: c.Redis, StatusRedisURL: c.StatusRedisURL, RedisCluster: c.RedisCluster}}
	opened := map[float64]bool{}
	for _, raw := range c.urls() {
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
