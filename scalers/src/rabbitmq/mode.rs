//! What is measured: the five modes' arithmetic.

/// What the broker says of a queue, or of several queues as one.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Counts {
    /// Messages, with or without those that wait for an acknowledgement, as the trigger wants it.
    pub messages: i64,
    /// Messages per second that come in.
    pub publish_rate: f64,
    /// Messages per second that are delivered or fetched.
    pub deliver_get_rate: f64,
}

/// `mode` of the trigger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    QueueLength,
    MessageRate,
    DeliverGetRate,
    PublishedToDeliveredRatio,
    ExpectedQueueConsumptionTime,
}

impl Mode {
    pub const ALL: [(&str, Self); 5] = [
        ("QueueLength", Self::QueueLength),
        ("MessageRate", Self::MessageRate),
        ("DeliverGetRate", Self::DeliverGetRate),
        ("PublishedToDeliveredRatio", Self::PublishedToDeliveredRatio),
        (
            "ExpectedQueueConsumptionTime",
            Self::ExpectedQueueConsumptionTime,
        ),
    ];

    /// The metric and whether the trigger is active, for `activationValue: activation` (KEDA: GetMetricsAndActivity).
    ///
    /// Where a ratio would divide by a delivery rate of zero, the value is `activation` itself, and the trigger is active:
    /// there is something to consume and nobody consumes it.
    pub fn measure(self, counts: Counts, activation: f64) -> (f64, bool) {
        let Counts {
            publish_rate: published,
            deliver_get_rate: delivered,
            ..
        } = counts;
        let messages = counts.messages as f64;
        match self {
            Self::QueueLength => (messages, messages > activation),
            Self::MessageRate => (published, published > activation || messages > activation),
            Self::DeliverGetRate => (delivered, delivered > activation),
            Self::PublishedToDeliveredRatio => {
                let undelivered = published > 0.0 && delivered == 0.0;
                let ratio = if undelivered {
                    activation
                } else if published > 0.0 && delivered > 0.0 {
                    published / delivered
                } else {
                    0.0
                };
                (ratio, ratio > activation || undelivered)
            }
            Self::ExpectedQueueConsumptionTime => {
                let undelivered = counts.messages > 0 && delivered == 0.0;
                let seconds = if counts.messages == 0 {
                    0.0
                } else if undelivered {
                    activation
                } else {
                    (published - delivered) / delivered + messages / delivered
                };
                (seconds, seconds > activation || undelivered)
            }
        }
    }
}

/// `operation` of the trigger: several queues as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Sum,
    Avg,
    Max,
}

impl Operation {
    /// Each count by itself. No queues are a queue of nothing. The average of messages is a whole number, rounded down.
    pub fn compose(self, queues: &[Counts]) -> Counts {
        let fold =
            |by: fn(Counts, Counts) -> Counts| queues.iter().copied().fold(Counts::default(), by);
        let sum = || {
            fold(|a, b| Counts {
                messages: a.messages + b.messages,
                publish_rate: a.publish_rate + b.publish_rate,
                deliver_get_rate: a.deliver_get_rate + b.deliver_get_rate,
            })
        };
        match self {
            Self::Sum => sum(),
            Self::Max => fold(|a, b| Counts {
                messages: a.messages.max(b.messages),
                publish_rate: a.publish_rate.max(b.publish_rate),
                deliver_get_rate: a.deliver_get_rate.max(b.deliver_get_rate),
            }),
            Self::Avg => {
                let (sum, count) = (sum(), queues.len().max(1));
                Counts {
                    messages: sum.messages / count as i64,
                    publish_rate: sum.publish_rate / count as f64,
                    deliver_get_rate: sum.deliver_get_rate / count as f64,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(messages: i64, publish_rate: f64, deliver_get_rate: f64) -> Counts {
        Counts {
            messages,
            publish_rate,
            deliver_get_rate,
        }
    }

    #[test]
    fn modes_measure_as_keda_does() {
        use Mode::*;
        let table = [
            (QueueLength, counts(7, 9.0, 9.0), 6.0, 7.0, true),
            (QueueLength, counts(7, 9.0, 9.0), 7.0, 7.0, false),
            (QueueLength, counts(0, 9.0, 9.0), 0.0, 0.0, false),
            // Messages alone make the rate active, too.
            (MessageRate, counts(0, 2.5, 0.0), 2.0, 2.5, true),
            (MessageRate, counts(3, 0.0, 0.0), 2.0, 0.0, true),
            (MessageRate, counts(2, 2.0, 9.0), 2.0, 2.0, false),
            (DeliverGetRate, counts(9, 9.0, 2.5), 2.0, 2.5, true),
            (DeliverGetRate, counts(9, 9.0, 2.0), 2.0, 2.0, false),
            (
                PublishedToDeliveredRatio,
                counts(0, 6.0, 4.0),
                1.0,
                1.5,
                true,
            ),
            (
                PublishedToDeliveredRatio,
                counts(0, 6.0, 6.0),
                1.0,
                1.0,
                false,
            ),
            (
                PublishedToDeliveredRatio,
                counts(0, 6.0, 0.0),
                3.0,
                3.0,
                true,
            ),
            (
                PublishedToDeliveredRatio,
                counts(5, 0.0, 6.0),
                0.0,
                0.0,
                false,
            ),
            (
                PublishedToDeliveredRatio,
                counts(5, 0.0, 0.0),
                0.0,
                0.0,
                false,
            ),
            (
                ExpectedQueueConsumptionTime,
                counts(100, 30.0, 20.0),
                5.0,
                5.5,
                true,
            ),
            (
                ExpectedQueueConsumptionTime,
                counts(100, 30.0, 20.0),
                5.5,
                5.5,
                false,
            ),
            (
                ExpectedQueueConsumptionTime,
                counts(100, 30.0, 0.0),
                4.0,
                4.0,
                true,
            ),
            (
                ExpectedQueueConsumptionTime,
                counts(0, 30.0, 0.0),
                0.0,
                0.0,
                false,
            ),
            // Draining faster than filling can come out below zero; the metric then counts as zero.
            (
                ExpectedQueueConsumptionTime,
                counts(1, 0.0, 4.0),
                0.0,
                -0.75,
                false,
            ),
        ];
        for (mode, counts, activation, value, active) in table {
            assert_eq!(
                mode.measure(counts, activation),
                (value, active),
                "{mode:?} of {counts:?} above {activation}"
            );
        }
    }

    #[test]
    fn several_queues_are_one_by_the_operation() {
        let queues = [
            counts(1, 1.0, 8.0),
            counts(4, 0.5, 0.0),
            counts(3, 0.0, 1.0),
        ];
        for (operation, expected) in [
            (Operation::Sum, counts(8, 1.5, 9.0)),
            (Operation::Avg, counts(2, 0.5, 3.0)),
            (Operation::Max, counts(4, 1.0, 8.0)),
        ] {
            assert_eq!(operation.compose(&queues), expected);
            assert_eq!(operation.compose(&[]), Counts::default());
        }
    }
}
