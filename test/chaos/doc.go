// Package chaos kills, stops and cuts off the real parts, each in a process of
// its own, under load, and then compares what every watcher was last told with
// what Redis knows.
package chaos
