//! A stream's log against a plain list: nothing inside the bounds is lost, nothing comes twice, places strictly rise,
//! and neither a response is shed nor a request of the server that is not settled.
#![no_main]

use arbitrary::Arbitrary;
use burdock::budget::Payload;
use burdock::http::Event;
use burdock::limits::REPLAY_ASKS_MAX;
use burdock::queue::{self, Receiver};
use burdock::session::stream::{Keep, Stream};

#[derive(Arbitrary, Debug)]
enum Step {
    Push { bytes: u8, response: bool, last: bool },
    /// A request of the server.
    Ask { bytes: u8 },
    /// The request at this place was answered.
    Settle { place: u8 },
    Attach { after: Option<u64>, room: u8 },
    Shed { events: u8, bytes: u16 },
    Read,
    Hang,
    Detach,
}

/// A reader, and the last place it saw.
struct Reader(Receiver<Event>, u64);

libfuzzer_sys::fuzz_target!(|steps: Vec<Step>| {
    let mut stream = Stream::new(7);
    // Everything ever pushed, place by place: its size, whether somebody waits for it, whether it was shed.
    let (mut model, mut reader, mut ended): (Vec<(usize, bool, bool)>, Option<Reader>, bool) =
        (Vec::new(), None, false);
    // Which of them are requests of the server.
    let mut asked: Vec<usize> = Vec::new();
    for step in steps {
        match step {
            // The worker pushes nothing behind the last event.
            Step::Push { .. } if ended => {}
            Step::Push { bytes, response, last } => {
                let keep = if response { Keep::Always } else { Keep::WhileRoom };
                stream.push(Payload::made_here(vec![b'x'; bytes.into()]), keep, last);
                model.push((bytes.into(), response, false));
                ended = last;
            }
            Step::Ask { bytes } => {
                // Beyond its bound the log gives the oldest up, which the model does not know.
                let asks = model.iter().filter(|(_, waited_for, shed)| *waited_for && !shed).count();
                if !ended && asks < REPLAY_ASKS_MAX {
                    stream.push(Payload::made_here(vec![b'x'; bytes.into()]), Keep::UntilSettled, false);
                    asked.push(model.len());
                    model.push((bytes.into(), true, false));
                }
            }
            Step::Settle { place } => {
                stream.settle(u64::from(place) + 1);
                if asked.contains(&place.into()) {
                    model[usize::from(place)].1 = false;
                }
            }
            Step::Attach { after, room } => {
                let (sender, live) = queue::bounded(1 + usize::from(room % 8));
                let (start, _) = stream.attach(sender, after);
                assert!(
                    start.place as usize <= model.len() && after.is_none_or(|after| start.place <= after)
                );
                reader = Some(Reader(live, start.place));
            }
            Step::Shed { events, bytes } => {
                let dropped = stream.shed_to(events.into(), bytes.into());
                let kept = |model: &[(usize, bool, bool)]| {
                    model
                        .iter()
                        .filter(|(.., shed)| !shed)
                        .fold((0, 0), |sum, (bytes, ..)| (sum.0 + 1, sum.1 + bytes))
                };
                for _ in 0..dropped {
                    let before = kept(&model);
                    assert!(before.0 > events.into() || before.1 > bytes.into(), "shed too much");
                    let oldest = model.iter_mut().find(|(_, response, shed)| !response && !shed);
                    oldest.expect("a response was shed").2 = true;
                }
                let left = kept(&model);
                let fits = left.0 <= events.into() && left.1 <= bytes.into();
                assert!(
                    fits || model.iter().all(|(_, response, shed)| *response || *shed),
                    "shed too little"
                );
            }
            Step::Read => {
                let Some(Reader(live, seen)) = &mut reader else { continue };
                let Ok(event) = live.try_recv() else { continue };
                let id = event.id.expect("an event without id");
                assert!(id.stream == 7 && id.place > *seen, "{id} after {seen}");
                assert!((*seen + 1..id.place).all(|place| model[place as usize - 1].2), "lost before {id}");
                assert_eq!(event.data.expect("no data").len(), model[id.place as usize - 1].0);
                *seen = id.place;
                stream.pump();
            }
            Step::Hang => reader = None,
            Step::Detach => stream.detach(),
        }
    }
    let (sender, live) = queue::bounded(1 + model.len());
    stream.attach(sender, Some(0));
    let places =
        std::iter::from_fn(|| live.try_recv().ok()).filter_map(|event| Some(event.id?.place as usize));
    let places: Vec<usize> = places.collect();
    let kept: Vec<usize> = (1..=model.len()).filter(|place| !model[place - 1].2).collect();
    assert_eq!(places, kept);
});
