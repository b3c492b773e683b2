//! The grammar itself: what the assistant of the demo is asked and what it answers.
//!
//! The notation is explained in [`super::grammar`].

/// One kind of request, with what belongs to a dialogue about it.
pub struct Intent {
    /// The label.
    pub name: &'static str,
    /// What a user asks for, with slots; "please" or "could you" may come first.
    pub requests: &'static [&'static str],
    /// The same wish as a statement or a question, which only a greeting may precede.
    pub statements: &'static [&'static str],
    /// What the assistant answers; bound slots repeat the user's words.
    pub answers: &'static [&'static str],
    /// What the user says next on the same subject.
    pub follow_ups: &'static [&'static str],
}

/// What may stand before a request.
pub const OPENINGS: &[&str] = &[
    "",
    "",
    "<greeting>",
    "<greeting> please",
    "please",
    "[<greeting>|] could you",
    "[<greeting>|] can you please",
    "[<greeting>|] would you",
    "i want you to",
    "i'd like you to",
    "quickly",
];

/// What may stand before a statement.
pub const GREETINGS: &[&str] = &["", "", "<greeting>"];

/// What may stand after a request.
pub const CLOSINGS: &[&str] =
    &["", "", "", "", "", "please", "thanks", "thank you", ", please", "right away", "if you can"];

/// The kinds of request. Verbs are shared on purpose: "turn down" alone tells no intent.
pub const INTENTS: &[&Intent] = &[
    &Intent {
        name: "switch_on",
        requests: &[
            "[turn|switch|put] on the {device} [in the {room}|]",
            "[turn|switch|put] the {device} [in the {room}|] on [{time_of_day}|]",
            "[turn|switch|put] the {room} {device} on",
            "[start|power up|activate|enable] the {device} [in the {room}|] [{time_of_day}|]",
            "get the {device} [in the {room}|] going",
        ],
        statements: &["[{time_of_day}|] i need the {device} on in the {room}"],
        answers: &[
            "the {device} [in the {room}|] is on now",
            "i have switched on the {device}",
            "the {device} is already running",
            "done , the {device} has power",
        ],
        follow_ups: &[
            "is the {device} really on ?",
            "now the {device!} in the {room!} as well",
            "leave the {device} on until {time_of_day!}",
            "how much power does the {device} use ?",
        ],
    },
    &Intent {
        name: "switch_off",
        requests: &[
            "[turn|switch|shut] off the {device} [in the {room}|]",
            "[turn|switch|shut] the {device} [in the {room}|] off [{time_of_day}|]",
            "[turn|switch|shut] the {room} {device} off",
            "[stop|power down|deactivate|disable|kill] the {device} [in the {room}|] [{time_of_day}|]",
            "make sure the {device} [in the {room}|] is off",
        ],
        statements: &["nobody is in the {room} so [turn|switch] the {device} off"],
        answers: &[
            "the {device} [in the {room}|] is off now",
            "i have switched off the {device}",
            "the {device} was off already",
            "done , the {device} no longer has power",
        ],
        follow_ups: &[
            "is the {device} really off ?",
            "the {device!} in the {room!} should be off too",
            "keep the {device} off until {time_of_day!}",
            "who left the {device} running ?",
        ],
    },
    &Intent {
        name: "set_brightness",
        requests: &[
            "[dim|brighten] the {room} [light|lights|lamps] to {percent}",
            "[turn|bring] [up|down] the [light|lights|lamps] in the {room} [to {percent}|]",
            "[set|put|bring] the [light|lights|brightness] in the {room} [to|at] {percent}",
            "make the {room} [lights|lamps|light] [brighter|darker|dimmer] [{time_of_day}|]",
        ],
        statements: &[
            "{percent} brightness in the {room}",
            "it is too [dark|bright] in the {room}",
        ],
        answers: &[
            "the light in the {room} is at {percent}",
            "brightness in the {room} is set to {percent}",
            "the {room} is [brighter|darker] now",
        ],
        follow_ups: &[
            "a little [brighter|darker] still",
            "better make the {room} {percent!}",
            "and the lamps in the {room!} at {percent!}",
            "how bright is the {room} now ?",
        ],
    },
    &Intent {
        name: "set_colour",
        requests: &[
            "[make|turn|paint] the {room} [light|lights|lamps] {colour}",
            "[set|change|switch] the [light|lights|lamps] in the {room} to {colour}",
            "[change|set] the colour of the {room} [lights|lamps] to {colour}",
        ],
        statements: &[
            "i want {colour} light in the {room} [{time_of_day}|]",
            "{colour} [light|lights] in the {room}",
        ],
        answers: &[
            "the {room} is {colour} now",
            "the lamps shine {colour}",
            "colour of the {room} changed to {colour}",
        ],
        follow_ups: &[
            "{colour} is not nice , try {colour!}",
            "the {room!} should be {colour} too",
            "which colours can the {room} show ?",
        ],
    },
    &Intent {
        name: "set_temperature",
        requests: &[
            "[set|put|turn] the [heating|thermostat|temperature] in the {room} to {temperature}",
            "[turn|bring] [up|down] the [heating|heat|thermostat] [in the {room}|] [to {temperature}|]",
            "[heat|cool|warm] the {room} to {temperature} [{time_of_day}|]",
            "make the {room} [warmer|colder|cooler] [{time_of_day}|]",
        ],
        statements: &[
            "i want {temperature} in the {room} [{time_of_day}|]",
            "it is too [cold|hot|warm] in the {room}",
        ],
        answers: &[
            "the thermostat in the {room} is at {temperature}",
            "the {room} will have {temperature} soon",
            "heating in the {room} is set to {temperature}",
        ],
        follow_ups: &[
            "how warm is the {room} now ?",
            "make that {temperature!}",
            "and the {room!} {temperature!}",
            "is the heating in the {room} working ?",
        ],
    },
    &Intent {
        name: "play_music",
        requests: &[
            "play [some|] {genre} [in the {room}|]",
            "play [something by|songs by|music by|] {artist} [in the {room}|]",
            "put on [some|] {genre} [by {artist}|] [in the {room}|]",
            "[start|let me hear|shuffle] [some|my] {genre} [{time_of_day}|]",
            "play {genre} by {artist}",
            "wake me with {genre} {time_of_day}",
        ],
        statements: &["i want to [hear|listen to] {artist} [in the {room}|]"],
        answers: &[
            "now playing {genre} by {artist}",
            "here is some {genre}",
            "playing {artist} for you",
            "this song by {artist} is very popular",
        ],
        follow_ups: &[
            "who sings this {genre} song ?",
            "play the next song by {artist}",
            "i prefer {artist!} to {artist}",
            "more {genre} like this",
        ],
    },
    &Intent {
        name: "set_volume",
        requests: &[
            "[turn|bring] [up|down] the [music|volume|sound|radio] [in the {room}|] [to {percent}|]",
            "[set|put] the volume [in the {room}|] [to|at] {percent}",
            "make the [music|radio|sound] [louder|quieter|softer] [in the {room}|]",
            "[mute|unmute] the [music|radio|sound] in the {room}",
        ],
        statements: &[
            "{percent} volume [in the {room}|]",
            "the [music|radio] in the {room} is too [loud|quiet]",
        ],
        answers: &[
            "volume is at {percent}",
            "the music in the {room} is [louder|quieter] now",
            "the sound is set to {percent}",
        ],
        follow_ups: &[
            "still too [loud|quiet]",
            "make the sound {percent!}",
            "and the radio in the {room!} at {percent!}",
        ],
    },
    &Intent {
        name: "set_timer",
        requests: &[
            "set a timer for {duration} [for the {item}|]",
            "[start|give me] a {duration} timer [for the {item}|]",
            "[count down|time] {duration}",
            "[tell|warn] me in {duration} [that the {item} is ready|]",
        ],
        statements: &["the {item} [needs|takes] {duration} [in the oven|]", "timer {duration}"],
        answers: &[
            "{duration} , starting now",
            "your timer for {duration} is running",
            "i will tell you in {duration}",
            "the timer for the {item} is set",
        ],
        follow_ups: &[
            "how much time is left on the timer ?",
            "make the timer {duration!}",
            "another timer of {duration!} for the {item!}",
            "stop the timer when the {item} is done",
        ],
    },
    &Intent {
        name: "set_alarm",
        requests: &[
            "wake me [up|] [{day}|] {time_of_day}",
            "set [an|my] alarm {time_of_day} [{day}|]",
        ],
        statements: &[
            "i [need|have] to get up {time_of_day} [{day}|]",
            "[{day}|] [set|put] the alarm {time_of_day}",
            "alarm {time_of_day} [{day}|]",
        ],
        answers: &[
            "your alarm rings {time_of_day}",
            "i will wake you {time_of_day} [{day}|]",
            "alarm set {day} {time_of_day}",
        ],
        follow_ups: &[
            "better {time_of_day!}",
            "do i have an alarm {day!} ?",
            "let me sleep until the alarm {day}",
        ],
    },
    &Intent {
        name: "add_reminder",
        requests: &[
            "remind me [{day}|] to {task} [{time_of_day}|]",
            "remind me to {task} [{day}|] [{time_of_day}|]",
            "don't let me forget to {task} [{day}|]",
            "[set|make|add] a reminder to {task} [{day}|] [{time_of_day}|]",
        ],
        statements: &[
            "i must not forget to {task} [{day}|]",
            "[{day}|] [{time_of_day}|] i have to {task} so remind me",
        ],
        answers: &[
            "i will remind you to {task}",
            "noted : {task} {day}",
            "you will not forget to {task}",
        ],
        follow_ups: &[
            "also remind me to {task!}",
            "what did i have to do {day} ?",
            "i already did {task} , so drop it",
        ],
    },
    &Intent {
        name: "get_weather",
        requests: &["[give me|tell me|show me] the [forecast|weather] for {city} [{day}|]"],
        statements: &[
            "[what is|what's|how is|how's] the weather [like|] [in {city}|] [{day}|]",
            "will it [rain|snow|be sunny|be windy|freeze] [in {city}|] [{day}|]",
            "[do i need|should i take] [an umbrella|a coat|sunglasses] [in {city}|] [{day}|]",
            "how [cold|warm|hot|wet] [is|will] it [be|get|] in {city} [{day}|]",
            "{city} weather {day}",
        ],
        answers: &[
            "it will [rain|snow|be sunny|be cloudy] in {city}",
            "the forecast for {city} says [rain|snow|sun|clouds|wind]",
            "expect [rain|snow|sun|storms] {day}",
        ],
        follow_ups: &[
            "and {day!} in {city} ?",
            "is the weather better in {city!} ?",
            "so i need an umbrella {day}",
            "does it often [rain|snow] in {city} ?",
        ],
    },
    &Intent {
        name: "add_to_list",
        requests: &[
            "[add|put] {quantity} {item} [to|on] [the|my] [shopping|grocery|] list",
            "[add|put] {item} [to|on] [the|my] [shopping|grocery|] list",
            "[buy|get|order] {quantity} {item} [{day}|]",
            "[put|write] {quantity} {item} down",
        ],
        statements: &[
            "we [need|are out of|ran out of] {item}",
            "i need {quantity} {item} [{day}|]",
        ],
        answers: &[
            "{item} is on your list",
            "i have added {quantity} {item}",
            "your shopping list has {item} now",
        ],
        follow_ups: &[
            "and {quantity!} {item!} as well",
            "what else is on the list with {item} ?",
            "make that {quantity!} {item}",
            "where is {item} cheap ?",
        ],
    },
    &Intent {
        name: "lock_door",
        requests: &[
            "[lock|close|secure|bolt] the {door} [{time_of_day}|]",
            "[lock|close] the {door} [when i leave|behind me|for the night]",
            "make sure the {door} is [locked|closed|shut]",
            "keep the {door} [locked|shut] [{time_of_day}|]",
        ],
        statements: &["is the {door} [locked|closed|shut] [if not lock it|]"],
        answers: &[
            "the {door} is locked",
            "i have closed the {door}",
            "nobody can open the {door} now",
        ],
        follow_ups: &[
            "who came through the {door} last ?",
            "the {door!} too",
            "open the {door} for the guests",
        ],
    },
    &Intent {
        name: "start_cleaning",
        requests: &[
            "[vacuum|clean|mop|sweep] the {room} [{time_of_day}|]",
            "[vacuum|clean|mop] the {room} [{day}|] [{time_of_day}|]",
            "[send|let] the robot [vacuum|clean|mop] [to|] the {room}",
        ],
        statements: &[
            "the [floor|carpet] in the {room} is [dirty|dusty|sticky]",
            "the {room} [needs|could use] [cleaning|a sweep|a mop] [{day}|]",
        ],
        answers: &[
            "the robot cleans the {room} now",
            "the floor of the {room} will be clean soon",
            "the vacuum is on its way to the {room}",
        ],
        follow_ups: &[
            "is the {room} clean yet ?",
            "then mop the {room!}",
            "the robot is stuck in the {room}",
        ],
    },
];

/// What slots and nonterminals are made of: a name and its alternatives.
pub const RULES: &[(&str, &str)] = &[
    (
        "room",
        "kitchen|bedroom|living room|bathroom|garage|hallway|office|attic|cellar|nursery|\
         dining room|guest room|study|garden house|laundry room|kids ' room|master bedroom|\
         upstairs hallway|winter garden|workshop",
    ),
    (
        "device",
        "fan|coffee machine|dishwasher|washing machine|dryer|television|tv|oven|kettle|\
         humidifier|air conditioner|heater|floor lamp|reading lamp|radio|projector|\
         game console|printer|night light|ceiling fan|toaster|air purifier|lights",
    ),
    (
        "colour",
        "red|green|blue|yellow|purple|orange|pink|turquoise|warm white|cold white|light blue|\
         dark blue|light green|dark red|soft orange|deep purple|magenta|amber",
    ),
    (
        "percent",
        "<tens> percent|<tens> %|<digits> %|<digits> percent|half|a quarter|maximum|minimum|\
         full",
    ),
    (
        "temperature",
        "<teen> degrees|twenty degrees|twenty <unit> degrees|<degrees> degrees|<degrees>",
    ),
    (
        "time_of_day",
        "at <hour>|at <hour>|at <hour> <minute>|at half past <hour>|\
         at quarter [past|to] <hour>|at <hour> [am|pm|o'clock]|at <clock>|\
         [in the|this] [morning|evening|afternoon]|\
         at [noon|midnight|sunrise|sunset|night]|in <few> [minutes|hours]|\
         after [lunch|dinner|breakfast]",
    ),
    (
        "duration",
        "<few> minutes|<tens> minutes|<round> <unit> minutes|<few> hours|half an hour|\
         half an hour|an hour|a minute|an hour and a half|<tens> seconds|\
         <digits> [minutes|seconds]|<few> and a half minutes",
    ),
    (
        "day",
        "today|tomorrow|tonight|on <weekday>|on <weekday>|next <weekday>|this <weekday>|\
         the day after tomorrow|this weekend|next week|every day|on <weekday> [morning|evening]",
    ),
    (
        "genre",
        "jazz|rock|blues|classical music|pop|hip hop|country music|folk|techno|reggae|soul|\
         piano music|dance music|opera|film music|salsa|smooth jazz|heavy metal|\
         christmas songs|lullabies",
    ),
    (
        "artist",
        "anna <surname>|peter <surname>|mary <surname>|john <surname>|the <adjective> <animal>|\
         the <adjective> <animal>|<adjective> <animal>|clara and the <animal>|max <surname>",
    ),
    (
        "city",
        "berlin|paris|london|rome|madrid|vienna|new york|san francisco|tokyo|oslo|cape town|\
         lisbon|prague|buenos aires|dublin|athens|los angeles|hong kong|cairo|toronto|sydney|\
         bern",
    ),
    (
        "item",
        "milk|bread|butter|eggs|pasta|rice|apples|bananas|coffee|tea|cheese|tomatoes|potatoes|\
         onions|olive oil|orange juice|dish soap|toilet paper|dark chocolate|red wine|chicken|\
         pizza|cake|green tea|blue cheese|soup",
    ),
    (
        "quantity",
        "<few>|a dozen|<few> bags of|<few> bottles of|<few> kilos of|a pack of|some more|\
         half a kilo of|<digits> grams of|a bottle of|plenty of|a few",
    ),
    (
        "task",
        "call [mum|dad|grandma|the bank|the doctor|the plumber|my sister]|\
         water the [plants|flowers|garden]|feed the [cat|dog|fish|birds]|\
         take out the [bins|rubbish|recycling]|pay the [rent|bills|electricity bill|gas bill]|\
         pick up the [kids|parcel|dry cleaning|car]|take my [medicine|pills|vitamins]|\
         [book|cancel] the [flight|hotel|table|dentist]|charge the [car|phone|laptop]|\
         buy a [present|card] for [mum|dad|anna|peter]|walk the dog|\
         do the [laundry|dishes|homework|taxes]|turn off the [stove|iron|sprinkler]|\
         lock the [shed|bike|car]",
    ),
    (
        "door",
        "front door|back door|garage door|garden gate|balcony door|cellar door|main gate|\
         patio door|side entrance|kitchen window|bathroom window|terrace door|windows upstairs",
    ),
    ("greeting", "hey|hey home|ok home|home|hello ,|good morning ,"),
    ("tens", "ten|fifteen|twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety"),
    ("round", "twenty|thirty|forty|fifty"),
    ("teen", "sixteen|seventeen|eighteen|nineteen|fifteen"),
    ("unit", "one|two|three|four|five"),
    ("few", "two|three|four|five|six|seven|eight|nine|ten|twelve"),
    ("degrees", "16|17|18|19|20|21|22|23|24"),
    ("clock", "6:30|7:15|7:45|8:00|9:30|10:15|18:30|20:00|22:45"),
    ("digits", "10|15|20|25|30|40|45|50|75|80"),
    ("hour", "five|six|seven|eight|nine|ten|eleven|twelve|one|two|three|four"),
    ("minute", "fifteen|twenty|thirty|forty five|ten|fifty"),
    ("weekday", "monday|tuesday|wednesday|thursday|friday|saturday|sunday"),
    ("surname", "winter|miller|stone|rivers|brown|king|bell|snow|march|day|rain|green"),
    ("adjective", "blue|golden|silent|flying|red|electric|lonely|dancing|black|lazy"),
    ("animal", "foxes|owls|tigers|rabbits|wolves|sparrows|bears|whales|cats|ravens"),
];
