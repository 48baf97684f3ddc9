package main

import (
	"context"
	"fmt"
)

// measureGrowth shows that a heartbeat costs the same however many others are
// online, on one Redis and on a cluster of three. Its limit is the least script
// on the same keys.
func measureGrowth(ctx context.Context, b *bench) error {
	for _, cluster := range []bool{false, true} {
		if err := b.grow(ctx, cluster); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) grow(ctx context.Context, cluster bool) error {
	w, err := newWorld(b, cluster, silent{})
	if err != nil {
		return err
	}
	defer w.close()
	where := "single"
	if cluster {
		where = "cluster"
	}
	filled := 0
	for _, users := range pick(b, []int{10_000, 100_000, 1_000_000, 5_000_000}, []int{1_000, 10_000}) {
		if err := w.fill(ctx, filled, users, page, noSession); err != nil {
			return err
		}
		filled = users
		r, err := w.race(ctx, b, callers, w.invoke(users, "Mutation.heartbeat", visit(page)), w.leastHeartbeat(users))
		if err != nil {
			return err
		}
		name := fmt.Sprintf("growth/%s/users=%d/", where, users)
		b.add(figure{name + "throughput", r[0].Rate, "calls/s", r[1].Rate, target{}})
		b.add(figure{name + "p50", micros(r[0].P50), "µs", micros(r[1].P50), target{}})
		b.add(figure{name + "p99", micros(r[0].P99), "µs", micros(r[1].P99), target{}})
	}
	return nil
}
