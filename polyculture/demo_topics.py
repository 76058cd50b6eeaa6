"""The topics of the demonstration data: what their texts speak of, as rows of phrases."""

from __future__ import annotations

TOPICS: tuple[tuple[str, str, str, str, str], ...] = (
    (
        "astronomy",
        "science",
        "black holes;neutron stars;the rings of Saturn;a total solar eclipse;red dwarf stars;the cosmic microwave "
        "background;exoplanets in transit;the phases of the Moon;comets from the Oort cloud;the expansion of the "
        "universe",
        "how astronomers measure the distance;what a small telescope can show;why gravity shapes the outcome;how "
        "the light spectrum gives it away;which space missions studied it;what remains unknown",
        "Light from {thing} has travelled for years before it reaches a telescope mirror.|Gravity is the force "
        "behind {thing}, and orbits follow from it.|A spectrum of {thing} splits starlight into colours, and dark "
        "lines name the elements.|Space probes and observatories in orbit have recorded {thing} in infrared and "
        "X-rays.",
    ),
    (
        "python",
        "programming",
        "a list comprehension;a generator function;a decorator with arguments;a dataclass with defaults;a context "
        "manager;an async event loop;a dictionary of counters;a recursive function;unit tests with pytest;a pandas "
        "data frame",
        "how to handle exceptions;what it costs in memory;how to add type hints;when a plain loop is clearer;how "
        "to test the edge cases;how to debug it step by step",
        "In Python, {thing} is only a few lines of code, for example `result = [f(x) for x in items if x > "
        "{a}]`.|The interpreter evaluates {thing} lazily or eagerly, which decides how much memory the script "
        "needs.|A docstring and type hints on {thing} let the linter catch a wrong argument before run time.|Write "
        "a pytest case for {thing} with an empty list and one that raises a ValueError.",
    ),
    (
        "cooking",
        "life",
        "a sourdough loaf;a lentil soup;a mushroom risotto;roast chicken thighs;a vegetable curry;fresh egg "
        "pasta;a lemon tart;pickled red onions;a tomato sauce;a three-bean chili",
        "how to season it in layers;which oven temperature to use;how to keep the texture right;what to substitute "
        "for butter;how long leftovers keep;how to scale the recipe",
        "Salt {thing} a little at each stage and taste it with a spoon before it is served.|Keep the pan hot for "
        "{thing}, and let the garlic and onions soften in olive oil first.|A kitchen scale makes {thing} come out "
        "the same way every time: {q} grams of flour is not a cup.|Let {thing} rest for {a} minutes so that the "
        "juices and the flavours settle.",
    ),
    (
        "history",
        "humanities",
        "the fall of Constantinople;the Silk Road;the French Revolution;the printing press in Europe;the Meiji "
        "Restoration;the Black Death;the abolition of slavery;the Roman Republic;the Cold War;the Treaty of "
        "Westphalia",
        "which causes historians dispute;what primary sources survive;how ordinary people lived through it;who "
        "gained and who lost power;what changed within a generation;how later ages remembered it",
        "Chronicles and letters of the century describe {thing} from the side of those who could write.|Kings, "
        "merchants and peasants met {thing} with different hopes, and the empire changed with them.|Historians "
        "still argue whether {thing} was decided by trade, by war or by belief.|Archives and coins date {thing} "
        "better than the memoirs that were written decades later.",
    ),
    (
        "algebra",
        "mathematics",
        "a quadratic equation;a system of two linear equations;an arithmetic sequence;a polynomial with three "
        "roots;an inequality with absolute values;a logarithmic equation;a rational expression;a word problem "
        "about ages;matrix multiplication;the binomial theorem",
        "how to check the solution;which step students get wrong;how to factor it;how to isolate the unknown;what "
        "the graph looks like;when there is no solution",
        "Take {thing} one step at a time: from {a}x + {b} = {c} subtract {b}, divide by {a}, and x = "
        "{x}.|Substitute the root back into {thing} to verify it: {a} * {x} + {b} = {c}.|Write {thing} in standard "
        "form, then compare the coefficients on both sides of the equals sign.|The unknown in {thing} can be "
        "isolated as soon as the terms with x stand on one side.",
    ),
    (
        "fitness",
        "life",
        "a beginner's running plan;a kettlebell routine;morning stretching;strength training at home;a warm-up "
        "before squats;interval training;a yoga flow;rowing on a machine;recovery after a marathon;core exercises "
        "without equipment",
        "how to avoid injury;how many repetitions to do;how to breathe during each set;what to do on rest days;how "
        "to track progress;how to fit it into a busy week",
        "Start {thing} with light muscles and joints: {a} minutes of easy movement raise the heart rate.|Keep the "
        "back straight and the shoulders low throughout {thing}, and stop when a joint hurts.|Two rest days "
        "between sessions of {thing} let muscles recover and grow stronger.|Write down sets, repetitions and heart "
        "rate for {thing}, and add a little weight each week.",
    ),
    (
        "poetry",
        "writing",
        "a sonnet about winter;a haiku on morning rain;a ballad of the sea;free verse about a city at night;an "
        "elegy for a lost friend;a villanelle on memory;a limerick about a cat;an ode to an old library;a prose "
        "poem about harvest;a lullaby in rhymed couplets",
        "how to keep the metre;which images to choose;where to break the line;how to avoid worn rhymes;how to find "
        "the turn;how to read it aloud",
        "In {thing} the metre carries the feeling: count the stresses, then break one of them on purpose.|Let one "
        "image run through {thing}, such as frost on a window or a lamp in the rain.|A rhyme in {thing} should "
        "surprise the ear and still seem the only word possible.|Read {thing} aloud, and strike every adjective "
        "the stanza can live without.",
    ),
    (
        "genetics",
        "science",
        "DNA replication;Mendelian inheritance;CRISPR gene editing;mitochondrial DNA;a recessive disorder;gene "
        "expression;chromosome crossover;epigenetic marks;antibiotic resistance in bacteria;population bottlenecks",
        "what happens in the cell;how mutations arise;which proteins take part;how laboratories detect it;how it "
        "passes to offspring;what ethical questions follow",
        "Enzymes in the cell nucleus carry out {thing}, one base pair after another.|A mutation changes {thing} "
        "when a single nucleotide of the genome is copied wrongly.|Sequencing lets a laboratory follow {thing} "
        "through alleles of parents and offspring.|Proteins fold according to the gene, so {thing} decides which "
        "trait an organism shows.",
    ),
    (
        "travel",
        "life",
        "a weekend in Lisbon;a rail trip through Japan;hiking in Patagonia;a road trip across Iceland;street food "
        "in Bangkok;museums in Berlin;a safari in Tanzania;island hopping in Greece;a winter stay in Quebec;a "
        "cycling tour of the Netherlands",
        "which season is best;how to plan a daily budget;what to pack;how to get around;which local customs to "
        "respect;how to avoid the crowds",
        "Book the train and the first hotel for {thing} early, and leave the afternoons open.|For {thing}, carry a "
        "light rain jacket, a copy of the passport and some cash for small guesthouses.|Locals recommend visiting "
        "markets and viewpoints before nine during {thing}, when tour buses are still away.|A budget of {r} euros "
        "a day covers meals, tickets and a hostel bed on {thing}.",
    ),
    (
        "sql",
        "programming",
        "a left join;a window function;a composite index;a recursive common table expression;a slow GROUP BY "
        "query;a foreign key constraint;a database migration;a transaction with rollback;a deduplication query;a "
        "partitioned table",
        "how to read the query plan;how to treat NULL values;when an index helps;how to avoid locking rows;how to "
        "test it on sample data;how to keep it portable",
        "The statement for {thing} reads `SELECT customer_id, COUNT(*) FROM orders GROUP BY customer_id HAVING "
        "COUNT(*) > {a};`.|The query plan shows whether {thing} scans the whole table or uses the index on its "
        "columns.|Rows with NULL keys drop out of {thing} unless the join condition says otherwise.|Wrap {thing} "
        "in a transaction so that the database is consistent after a failure.",
    ),
    (
        "climate",
        "science",
        "the greenhouse effect;ocean acidification;melting permafrost;the El Nino cycle;urban heat islands;carbon "
        "capture;sea level rise;drought in the Sahel;methane from wetlands;the loss of Arctic sea ice",
        "how scientists model it;which feedbacks amplify it;what cities can do;how it affects harvests;what ice "
        "cores reveal;how uncertain the projections are",
        "Carbon dioxide and methane in the atmosphere trap heat, and {thing} follows the temperature.|Satellites "
        "and ocean buoys have measured {thing} for decades, so the warming trend is clear.|Climate models project "
        "{thing} under several emission scenarios until the end of the century.|Coastal towns and farmers adapt to "
        "{thing} with dikes, shade trees and hardier crops.",
    ),
    (
        "email",
        "writing",
        "a complaint about a late delivery;a request for a deadline extension;a note of thanks after an "
        "interview;an invitation to a workshop;a polite refusal of a meeting;an apology to a customer;a follow-up "
        "on an unpaid invoice;a welcome to a new colleague;a resignation letter;a summary of a meeting",
        "which tone to strike;how to open it;how to keep it short;what to put in the subject line;how to ask for a "
        "reply;what to leave out",
        "Dear Ms Alvarez, I am writing with {thing}, and I would be grateful for your reply by Friday.|The subject "
        "line of {thing} should say what is asked and by when.|Keep {thing} to three short paragraphs: the reason, "
        "the request, the next step.|Close {thing} with kind regards and a phone number, so that the recipient can "
        "answer at once.",
    ),
    (
        "geometry",
        "mathematics",
        "the Pythagorean theorem;the area of a trapezoid;inscribed angles in a circle;the volume of a cone;similar "
        "triangles;the surface of a cylinder;coordinates of a midpoint;a regular hexagon;tangent lines to a "
        "circle;rotations of the plane",
        "how to draw the figure;which formula applies;how to prove it;how to check the units;where it is used in "
        "practice;what changes in three dimensions",
        "Draw {thing} first and label the sides: legs of {p} cm and {q} cm give a hypotenuse of {r} cm.|The angles "
        "of the triangle add up to 180 degrees, which settles {thing} quickly.|The proof of {thing} splits the "
        "figure into right triangles of equal area.|With a compass and a ruler {thing} can be constructed from the "
        "radius alone.",
    ),
    (
        "economics",
        "humanities",
        "inflation expectations;a carbon tax;comparative advantage;the minimum wage;a central bank's interest "
        "rate;income inequality;a housing shortage;an export tariff;unemployment benefits;the price of oil",
        "who bears the cost;how markets respond;what the evidence says;how governments could act;which assumptions "
        "matter;what happens in the long run",
        "Supply and demand set the price, and {thing} shifts one of the two curves.|Households and firms change "
        "their spending when {thing} is announced, even before it takes effect.|Economists estimate the effect of "
        "{thing} by comparing regions before and after a reform.|A central bank or a finance ministry weighs "
        "{thing} against growth, debt and employment.",
    ),
    (
        "gardening",
        "life",
        "tomatoes in pots;a compost heap;roses in clay soil;a herb garden on a balcony;pruning apple trees;a lawn "
        "after drought;bulbs for spring;raised vegetable beds;slugs on lettuce;a hedge for birds",
        "when to plant;how often to water;which soil to mix;how to keep pests away;what to do in autumn;how to "
        "feed the plants",
        "Loosen the soil before you start with {thing}, and mix in two buckets of ripe compost.|Water {thing} "
        "early in the morning at the roots, so that leaves stay dry and mildew stays away.|Mulch around {thing} "
        "keeps weeds down and moisture in the ground.|After the last frost, give {thing} a sunny bed and {p} "
        "centimetres between plants.",
    ),
    (
        "web",
        "programming",
        "a responsive navigation bar;a form with validation;a REST endpoint;a CSS grid layout;lazy loading of "
        "images;a dark mode switch;a React component;a service worker;a login with cookies;an accessible modal "
        "dialog",
        "how to support old browsers;how to make it accessible;how to measure load time;where security can "
        "fail;how to structure the files;how to test it in the browser",
        "The HTML of {thing} needs semantic elements and labels, so that a screen reader can follow it.|In the "
        "style sheet, `display: grid; gap: {a}px;` lays out {thing} without floats.|JavaScript for {thing} listens "
        "to one event and updates the DOM in a single frame.|Check {thing} in the browser's developer tools with a "
        "slow network and a small viewport.",
    ),
    (
        "storytelling",
        "writing",
        "a detective in a small town;a lighthouse keeper's secret;a robot that learns to paint;two rivals on a "
        "long voyage;a letter found in an attic;a dragon afraid of fire;the last day of a bookshop;a village "
        "without mirrors;a chess game with a ghost;a child who hears the weather",
        "how to open the first scene;how to build suspense;which narrator to choose;how to write the dialogue;how "
        "the hero changes;how to end it",
        "The first scene of the story about {thing} opens with a sound nobody can explain.|Give the hero of "
        '{thing} a wish and a fear that cannot both be satisfied.|"You were not meant to find this," she '
        "whispers halfway through the tale of {thing}.|The last chapter of {thing} returns to the opening image, "
        "and the reader sees it with other eyes.",
    ),
    (
        "chemistry",
        "science",
        "an acid and base titration;the periodic table;catalysts in a reaction;covalent bonds;rusting "
        "iron;distillation of alcohol;soap from fats;polymers in plastics;the pH of rain;electrolysis of water",
        "what happens between the molecules;which safety rules apply;how to balance the equation;how temperature "
        "changes the rate;what can be seen in the experiment;where industry uses it",
        "Electrons move between atoms in {thing}, and the bonds that form hold less energy.|Wear goggles and "
        "gloves when {thing} is shown in the laboratory, and add acid to water.|Balance the equation of {thing} so "
        "that every element has as many atoms on both sides.|A solution of {a} moles in a litre reacts faster in "
        "{thing} when it is warmed.",
    ),
    (
        "probability",
        "mathematics",
        "two fair dice;drawing cards without replacement;the birthday paradox;Bayes' theorem in medical tests;a "
        "biased coin;the expected value of a lottery;a binomial distribution;the Monty Hall problem;waiting times "
        "at a bus stop;sampling from an urn",
        "how to count the outcomes;why intuition misleads;how to simulate it;when events are independent;how to "
        "compute the variance;how to explain it with a tree diagram",
        "Count the favourable outcomes of {thing} and divide by all outcomes: {p} of {r} is {ratio}.|Events in "
        "{thing} are independent only if knowing one leaves the chance of the other alone.|A simulation of {thing} "
        "with ten thousand random trials comes close to the exact probability.|The expected value in {thing} is "
        "each result times its probability, added up.",
    ),
    (
        "music",
        "humanities",
        "the sonata form;a twelve-bar blues;Bach's fugues;jazz improvisation;the string quartet;West African "
        "drumming;film scores;a choir in four parts;flamenco guitar;the minor scale",
        "how to listen for it;which instruments carry it;how harmony creates tension;how it developed over "
        "time;how to practise it;which recordings to start with",
        "The melody of {thing} returns in another key, and the listener recognises it at once.|Rhythm gives "
        "{thing} its drive: tap the beat and hear how the accents fall between.|Chords in {thing} build tension on "
        "the dominant and release it on the tonic.|Musicians learn {thing} slowly with a metronome, bar by bar, "
        "before they play it by heart.",
    ),
    (
        "philosophy",
        "humanities",
        "free will;the trolley problem;Plato's cave;Stoic ethics;the mind and body problem;utilitarianism;personal "
        "identity over time;Kant's categorical imperative;knowledge and doubt in Descartes;the meaning of a good "
        "life",
        "which objection is strongest;how to define the terms;what a thought experiment shows;how other traditions "
        "see it;what follows for daily conduct;where the argument is circular",
        "The argument about {thing} rests on a premise that a sceptic may refuse.|A thought experiment makes "
        "{thing} vivid, yet intuition is not a proof.|Philosophers separate what {thing} is from what it ought to "
        "be.|Define the terms of {thing} first, because most of the quarrel is about words.",
    ),
    (
        "git",
        "programming",
        "a merge conflict;an interactive rebase;a detached head;a release tag;a pre-commit hook;a submodule;a "
        "reverted commit;a feature branch;a bisect session;a large binary in the repository",
        "how to undo it safely;how to explain it to the team;which command to run first;what happens to the "
        "history;how to prevent it next time;how the remote is affected",
        "Run `git status` and `git log --oneline -{a}` before you touch {thing}.|A branch is a pointer to a "
        "commit, so {thing} rewrites nothing until you push.|The reflog remembers where the branch was before "
        "{thing}, which makes it safe to undo.|Agree in the team how {thing} is reviewed before it is merged into "
        "the main branch.",
    ),
    (
        "speeches",
        "writing",
        "a wedding toast;a graduation address;a farewell for a retiring teacher;the opening of a community "
        "centre;an award acceptance;a eulogy for a grandmother;a rallying call to volunteers;a pitch to "
        "investors;a motion in a school debate;a keynote on public libraries",
        "how to win the audience in a minute;which anecdote to tell;how to use pauses;how to close on a strong "
        "line;how to handle nerves;how to shorten it",
        "Ladies and gentlemen, {thing} begins with a story that only this audience will recognise.|Pause after the "
        "main line of {thing}, look up, and let the applause come.|Three points are enough for {thing}: the "
        "listeners will remember the last one.|Rehearse {thing} aloud with a clock, and cut every sentence that "
        "needs a second breath.",
    ),
    (
        "sleep",
        "life",
        "insomnia before exams;jet lag;a bedtime routine for toddlers;naps during night shifts;snoring;vivid "
        "dreams;blue light in the evening;the circadian rhythm;caffeine after lunch;waking up at three",
        "which habits help;when to see a doctor;what happens in the brain;how to arrange the bedroom;what studies "
        "have found;how to keep a sleep diary",
        "A dark, cool bedroom and a fixed hour of waking help with {thing} more than pills do.|Melatonin rises in "
        "the evening, and {thing} depends on when it does.|Keep a sleep diary for {a} nights before you ask a "
        "doctor about {thing}.|Deep sleep and dreams alternate through the night, which explains much about "
        "{thing}.",
    ),
)
"""Topic, domain, subjects (;), aspects (;) and sentences (|), from the most frequent topic to the rarest."""
