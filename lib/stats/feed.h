/* Streams being fed: the states of a set of metrics over some tokens, and the runs that go into them. */
#ifndef MOE_STATS_FEED_H
#define MOE_STATS_FEED_H

#include "base/err.h"
#include "base/pool.h"
#include "stats/stats.h"
#include "stats/stream.h"

/* The streams of a set of metrics, and what they are told. One for all feeds of a program; outlives them. */
struct moe_feeder;

/* params NULL: the defaults; otherwise a view that outlives the feeder. A number of groups that does not divide the
 * experts is MOE_EUSAGE. rows: [n_layers] which layers of the header are wanted; NULL: all. The pool is borrowed. */
MOE_MUST_USE enum moe_status moe_feeder_new(struct moe_feeder **out, const struct moe_metric *const *metrics,
                                            int n_metrics, const struct moe_metric_params *params,
                                            const struct moe_trace_header *header, const bool *rows,
                                            struct moe_pool *pool, struct moe_err *err);
/* May traces with this header be fed as well? top_k, scoring and groups must be those of the first. */
MOE_MUST_USE enum moe_status moe_feeder_alike(const struct moe_feeder *feeder, const struct moe_trace_header *header,
                                              struct moe_err *err);
void moe_feeder_free(struct moe_feeder *feeder);   /* NULL is fine */

/* States of nothing yet. */
MOE_MUST_USE enum moe_status moe_feed_new(struct moe_feed **out, struct moe_feeder *feeder, struct moe_err *err);
/* Adds a run, its layers in parallel. part: of all files, counted so that no two are alike; runs of a part come one
 * after another. Sequences may alternate, but not more of them than moe_feed_open_max: one that goes on after so many
 * others is MOE_EFORMAT. against: [n_layers] the same tokens in another trace; NULL: there is none. */
MOE_MUST_USE enum moe_status moe_feed_add(struct moe_feed *feed, int64_t part, const struct moe_trace_run *run,
                                          const struct moe_routing *against, struct moe_err *err);
/* Closes what is open. Before states are read or merged. */
MOE_MUST_USE enum moe_status moe_feed_end(struct moe_feed *feed, struct moe_err *err);
/* Adds the states of another feed of the same feeder, which has ended as well. */
MOE_MUST_USE enum moe_status moe_feed_merge(struct moe_feed *into, const struct moe_feed *from, struct moe_err *err);
void moe_feed_free(struct moe_feed *feed);   /* NULL is fine */

const struct moe_stream_setup *moe_feed_setup(const struct moe_feed *feed);
/* State of a stream in a layer, by the model's own index. */
const void *moe_feed_state(const struct moe_feed *feed, const struct moe_stream *stream, int32_t layer);
/* A state of the stream merged over the given layers: *out, cleared by moe_feed_pool_free. */
MOE_MUST_USE enum moe_status moe_feed_pool(const struct moe_feed *feed, const struct moe_stream *stream,
                                           const int32_t *layers, int32_t n_layers, void **out, struct moe_err *err);
void moe_feed_pool_free(const struct moe_feed *feed, const struct moe_stream *stream, void *state);

/* Bytes of its states, but for what they own. */
size_t moe_feed_bytes(const struct moe_feed *feed);
/* Does anything of a sequence have to be kept until it ends? */
bool moe_feed_opens(const struct moe_feed *feed);
/* How many sequences are kept open: as many as fit 256 MiB, at least 8. */
size_t moe_feed_open_max(const struct moe_feed *feed);

#endif
