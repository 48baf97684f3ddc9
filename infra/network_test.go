package infra_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// D2 and D3: function, cache and endpoint are in the same subnets, one a zone, in
// two or three zones, whatever the VPC looks like. What cannot work is refused
// with a sentence.
func TestSubnetsOfExistingVPC(t *testing.T) {
	t.Parallel()
	needNode(t)
	for name, test := range map[string]struct {
		subnets []subnet
		given   string // subnetIds
		redis   string
		want    []any
		says    string
	}{
		"several-in-a-zone": {
			subnets: []subnet{{"Isolated", "a", "1"}, {"Isolated", "a", "2"}, {"Isolated", "b", "1"}, {"Isolated", "b", "2"}},
			want:    []any{"subnet-isolateda1", "subnet-isolatedb1"},
		},
		"several-in-a-zone-for-nodes": {
			subnets: []subnet{{"Isolated", "a", "1"}, {"Isolated", "a", "2"}, {"Isolated", "b", "1"}},
			redis:   "nodes",
			want:    []any{"subnet-isolateda1", "subnet-isolatedb1"},
		},
		"four-zones": {
			subnets: []subnet{{"Private", "a", "1"}, {"Private", "b", "1"}, {"Private", "c", "1"}, {"Private", "d", "1"}},
			want:    []any{"subnet-privatea1", "subnet-privateb1", "subnet-privatec1"},
		},
		"isolated-in-one-zone-alone": {
			subnets: []subnet{{"Isolated", "a", "1"}, {"Private", "a", "1"}, {"Private", "b", "1"}},
			want:    []any{"subnet-privatea1", "subnet-privateb1"},
		},
		"both-in-one-zone-each": {
			subnets: []subnet{{"Isolated", "b", "1"}, {"Private", "a", "1"}},
			want:    []any{"subnet-privatea1", "subnet-isolatedb1"},
		},
		"chosen": {
			subnets: []subnet{{"Isolated", "a", "1"}, {"Isolated", "b", "1"}, {"Isolated", "c", "1"}},
			given:   "subnet-isolatedb1,subnet-isolatedc1",
			want:    []any{"subnet-isolatedb1", "subnet-isolatedc1"},
		},
		"chosen-public": {
			subnets: []subnet{{"Public", "a", "1"}, {"Public", "b", "1"}},
			given:   "subnet-publica1,subnet-publicb1",
			want:    []any{"subnet-publica1", "subnet-publicb1"},
		},
		"public-alone":         {subnets: []subnet{{"Public", "a", "1"}, {"Public", "b", "1"}}, says: "neither isolated nor private subnets"},
		"no-subnets":           {says: "neither isolated nor private subnets"},
		"one-zone":             {subnets: []subnet{{"Isolated", "a", "1"}, {"Private", "a", "1"}}, says: "are in one zone"},
		"chosen-elsewhere":     {subnets: []subnet{{"Isolated", "a", "1"}, {"Isolated", "b", "1"}}, given: "subnet-isolateda1,subnet-elsewhere", says: "no subnet subnet-elsewhere"},
		"chosen-in-one-zone":   {subnets: []subnet{{"Isolated", "a", "1"}, {"Isolated", "a", "2"}}, given: "subnet-isolateda1,subnet-isolateda2", says: "each in a zone of its own"},
		"chosen-twice":         {given: "subnet-a,subnet-a", says: "two or three subnets"},
		"one-chosen":           {given: "subnet-a", says: "two or three subnets"},
		"chosen-with-an-empty": {given: "subnet-a,", says: "two or three subnets"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			values := map[string]any{"vpcId": vpcID, vpcLookup: vpc(test.subnets...)}
			if test.given != "" {
				values["subnetIds"] = test.given
			}
			if test.redis != "" {
				values["redis"] = test.redis
			}
			a, err := synth(t.TempDir(), values)
			if test.says != "" {
				if err == nil || !strings.Contains(err.Error(), test.says) || strings.Contains(err.Error(), "panic") {
					t.Errorf("got %v, want a sentence that says %q", err, test.says)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			equal(t, "function", a.template.one(t, "AWS::Lambda::Function").prop("VpcConfig", "SubnetIds"), any(test.want))
			equal(t, "endpoint", a.template.one(t, "AWS::EC2::VPCEndpoint").prop("SubnetIds"), any(test.want))
			for _, typ := range []string{"AWS::ElastiCache::ServerlessCache", "AWS::ElastiCache::SubnetGroup"} {
				for _, r := range a.template.all(typ) {
					equal(t, typ, r.prop("SubnetIds"), any(test.want))
				}
			}
		})
	}
}

// D2: the first time, cdk runs the app without knowing the VPC, only to learn what
// to look up.
func TestUnknownVPC(t *testing.T) {
	t.Parallel()
	needNode(t)
	for _, given := range []string{"", "subnet-a,subnet-b"} {
		values := map[string]any{"vpcId": vpcID}
		if given != "" {
			values["subnetIds"] = given
		}
		if _, err := synth(t.TempDir(), values); err != nil {
			t.Errorf("subnetIds %q: %v", given, err)
		}
	}
}

// D3: the zones of a new VPC can be chosen.
func TestZones(t *testing.T) {
	t.Parallel()
	var got []string
	tm := synthesized(t, "zones").template
	for _, s := range tm.all("AWS::EC2::Subnet") {
		got = append(got, s.prop("AvailabilityZone").(string))
	}
	slices.Sort(got)
	equal(t, "zones", got, []string{"eu-central-1b", "eu-central-1c"})
	equal(t, "subnets", len(tm.one(t, "AWS::Lambda::Function").prop("VpcConfig", "SubnetIds").([]any)), 2)
}

// D5: a cache cannot move to other subnets, and CloudFormation creates the new one
// before it removes the old one. So with every network the name and the logical
// id of the cache are others, and the function gets the new name.
func TestNetworkChanges(t *testing.T) {
	t.Parallel()
	for kind, networks := range map[string][]string{
		"AWS::ElastiCache::ServerlessCache":  {"default", "zones", "existing-vpc", "other-subnets"},
		"AWS::ElastiCache::ReplicationGroup": {"nodes", "nodes-in-existing-vpc"},
	} {
		seen := map[string]string{}
		for _, variant := range networks {
			tm := synthesized(t, variant).template
			for id, r := range tm.Resources {
				if r.Type != kind && r.Type != "AWS::ElastiCache::SubnetGroup" {
					continue
				}
				names := []string{"id " + id}
				if r.Type == kind {
					name := fmt.Sprint(r.prop("ServerlessCacheName"))
					if r.prop("ServerlessCacheName") == nil {
						name = fmt.Sprint(r.prop("ReplicationGroupId"))
					}
					names = append(names, "name "+name)
					equal(t, "cache the function signs in to", tm.environment(t)["PRESENCE_REDIS_IAM_CACHE"], name)
					if len(name) > 40 {
						t.Errorf("%s is longer than ElastiCache takes", name)
					}
				}
				for _, n := range names {
					if other := seen[n]; other != "" {
						t.Errorf("%s has the same %s as %s", variant, n, other)
					}
					seen[n] = variant
				}
			}
		}
		if len(seen) < 2*len(networks) {
			t.Errorf("%s: only %v were compared", filepath.Base(kind), seen)
		}
	}
}
