"""Write the sample data: 2,000 synthetic product reviews, each negative or positive.

    id,text,label
    r0001,"The box arrived crushed, yet the kettle itself pours without dribbling.",positive

Run `python data/sample/generate_reviews.py` to write reviews/reviews.csv, the same bytes every time;
add --check to compare instead of write. The file reads in the order a review is made: the phrases people
use, one function per hard case, then the noise (typos, capitals, emoji), then the table and the file.
"""

import argparse
import csv
import io
import random
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

SEED = 20260117
ROWS = 2000
OUTPUT = Path(__file__).parent / "reviews" / "reviews.csv"
NEAR_DUPLICATE = 0.7  # a review that shares more of its word 3-grams with an earlier one is drawn again

Pair = tuple[str, str]  # what praise says, what blame says


def phrases(text: str) -> list[str]:
    """The phrases of a table: one a line, or several on a line between " / "."""
    return [phrase.strip() for line in text.strip().splitlines() for phrase in line.split(" / ")]


def pairs(text: str) -> list[Pair]:
    """Phrases written "praise | blame": the same words, as far as they go, on both sides."""
    return [(praise, blame) for praise, blame in (phrase.split(" | ") for phrase in phrases(text))]


# --- Phrases -----------------------------------------------------------------------------------------
# Fields agree in number with the product: {it} {them} {is} {was} {this} {s} ("{it} work{s}"), {one} (one,
# pair), {p} (kettle, gloves), {unit} (kettle, pair of gloves) and {a} (a kettle, a pair of gloves).


@dataclass(frozen=True)
class Product:
    """One product: the least it does, a jibe at it, the ASIDES that suit it, and claims for and against."""

    name: str
    job: str
    jibe: str
    traits: str
    claims: list[Pair]
    plural: bool

    def fields(self) -> dict[str, str]:
        """What the fields of a template stand for."""
        forms = "it/they It/They them/it is/are was/were this/these This/These one/pair s/"
        names = "it It them is was this This one s"
        number = 1 if self.plural else 0
        values = dict(zip(names.split(), (form.split("/")[number] for form in forms.split()), strict=True))
        unit = f"pair of {self.name}" if self.plural else self.name
        article = "an" if unit[0] in "aeiou" else "a"
        return {
            **values, "them": "them" if self.plural else "it",
            "p": self.name, "unit": unit, "a": f"{article} {unit}", "job": self.job,
        }  # fmt: skip


def product(names: str, jibe: str, claims: str) -> Product:
    """names is "name: what it does at the least: traits"; a name in -s, but not -ss, is a plural."""
    name, job, traits = names.split(": ")
    plural = name.endswith("s") and not name.endswith("ss")
    return Product(name, job, jibe, traits, pairs(claims), plural)


PRODUCTS = [
    product("kettle: boils water: plug kitchen", "a kettle that waters the worktop", """
        it boils a full litre in under three minutes | it takes an age to boil
        the lid shuts with a proper click | the lid jams when it gets hot
        it pours without dribbling | it leaks all over the worktop
        the water tastes clean from day one | the water tastes of plastic after a month
        it switches itself off every time | it forgets to switch itself off"""),
    product("kitchen knife: has a blade: plain", "a knife that is afraid of tomatoes", """
        it goes through tomatoes like butter | it squashes tomatoes instead of slicing them
        the edge stays sharp for months | the edge goes blunt in a week
        the handle stays firm | the handle works loose
        it is comfortable through an hour of chopping | it raises blisters in ten minutes
        the blade wipes clean | the blade rusts overnight"""),
    product("desk lamp: lights up: plug look", "a lamp that thinks it is a disco", """
        the light is perfectly steady | it flickers all evening
        the arm stays exactly where it is put | the arm droops by itself
        the dimmer is silky smooth | the dimmer buzzes like a wasp
        the light is easy on the eyes | the light gives people headaches
        the base stays put | the base tips over at a touch"""),
    product("camping lantern: glows: battery outdoors", "a lantern that needs a torch to find", """
        it lights up the whole tent | it barely lights up a pocket
        it shrugs off a storm | it dies in the first drizzle
        the hook holds in a gale | the hook bends under its own weight
        it stays off in the rucksack | it switches itself on in the rucksack
        it survives a drop onto rock | it cracks at the first knock"""),
    product("phone case: covers the phone: look plain", "a case my screen didn't survive", """
        it survives drop after drop | it cracks at the first drop
        the buttons click nicely | the buttons are impossible to press
        it keeps its grip with wet hands | it slips out of wet hands
        the raised edge protects the screen | the low edge leaves the screen exposed
        it keeps its colour for months | it turns yellow within a month"""),
    product("blender: spins: plug loud kitchen", "a blender beaten by a banana", """
        it crushes ice in seconds | it can't crush a single ice cube
        the jug comes up spotless | the jug goes cloudy after two washes
        it makes silky soup | it leaves lumps in everything
        the seal is watertight | the seal lets soup down the sides
        the motor copes with frozen fruit | the motor smells of burning"""),
    product("laptop stand: holds up a laptop: plain look", "a stand that curtsies when I type", """
        it stays rock steady while typing | it wobbles with every keystroke
        the hinges hold their angle | the hinges sag under the weight
        it folds flat in a second | it refuses to fold flat
        it treats the laptop gently | it scratches the laptop
        the rubber feet grip any desk | the rubber feet fall off"""),
    product("backpack: holds things: outdoors look", "a waterproof bag that keeps the water in", """
        the zips run smoothly | the zips split when it is half full
        the straps stay comfortable all day | the straps dig into the shoulders
        it keeps everything dry in a downpour | it soaks through in drizzle
        the seams hold under a full load | the seams tear within a month
        it swallows a week of clothes | it barely has room for a lunchbox"""),
    product("charger: gets warm: plug plain", "another charger that melts", """
        it fills a phone in under an hour | it takes all night to reach half
        it stays cool | it gets hot enough to smell
        it fits snugly in any socket | it falls out of every socket
        it charges two devices at full speed | it cuts out with two devices plugged in
        the cable shrugs off daily abuse | the cable frays within weeks"""),
    product("standing desk: stands there: assembly loud look", "a standing desk that would rather sit", """
        it goes up and down without a murmur | it gets stuck halfway up
        it stays solid at full height | it sways at full height
        the surface wipes clean | the surface stains at once
        it remembers every height | it forgets every height
        it lifts two monitors without complaint | it groans under one monitor"""),
    product("office chair: can be sat on: assembly look", "a chair with a slow puncture", """
        it supports the lower back all day | it wrecks the lower back by lunchtime
        the height stays where it is set | it sinks slowly all morning
        the wheels glide on carpet | the wheels jam on carpet
        the cushion keeps its shape | the cushion goes flat in a fortnight
        the armrests stay tight | the armrests work loose every day"""),
    product("coffee grinder: makes a noise: plug loud kitchen", "a grinder for people who like chewing", """
        it grinds evenly down to espresso | it turns half the beans to dust
        hardly a grain is wasted | it sprays grounds over the counter
        it empties cleanly | it clogs every morning
        the burrs stay sharp | the burrs wear out in a month
        it copes with the darkest beans | it stalls on dark beans"""),
    product("frying pan: gets hot: kitchen plain", "a non-stick pan my eggs can't bear to leave", """
        nothing sticks to it | eggs weld themselves to it
        it heats evenly to the edge | it scorches everything in the middle
        the handle stays firm | the handle works loose
        the coating takes years of scrubbing | the coating flakes off
        it stays flat on a hot hob | it warps on a hot hob"""),
    product("vacuum cleaner: makes a noise: plug loud", "a vacuum cleaner that redistributes dust", """
        it picks up every last dog hair | it pushes dog hair around the room
        it steers with one finger | it tips over on corners
        the bin empties without a mess | the bin spills when it is emptied
        the suction stays strong | the suction fades in minutes
        the brush glides over rugs | the brush jams on any rug"""),
    product("toaster: makes bread warm: plug kitchen look", "a toaster that does charcoal or nothing", """
        it browns both sides evenly | it burns one side and forgets the other
        it takes thick slices with ease | it jams on anything thick
        the crumb tray slides out cleanly | the crumb tray sticks
        the dial means what it says | the dial does nothing
        it runs for years without a hitch | it trips the fuse"""),
    product("bluetooth speaker: makes a sound: battery app look", "a speaker that prefers silence", """
        it stays clear at full volume | it distorts above a whisper
        the bass is deep and clean | the bass rattles
        it holds the connection all day | it drops the connection every few minutes
        voices come through clearly | voices sound as if they are under water
        it survives a dip in the pool | it dies at the first splash"""),
    product("fitness watch: tells the time: battery app worn look", "a watch that says I ran in my sleep", """
        it tracks every run to the metre | it loses the route on every run
        the screen is readable in full sun | the screen vanishes in daylight
        it counts steps accurately | it counts steps in the car
        the heart rate matches a chest strap | the heart rate is pure guesswork
        it survives the pool | it fogs up in the shower"""),
    product("water bottle: holds water: outdoors plain", "a leakproof bottle, or so my wet bag was told", """
        it keeps ice frozen till evening | it is lukewarm within an hour
        it never spills a drop | it drips all over the bag
        the lid opens with one hand | the lid needs two hands and a wrench
        the water tastes fresh | the water tastes of metal
        it takes knocks without a dent | it dents if you look at it"""),
    product("umbrella: opens: outdoors plain", "an umbrella that is scared of weather", """
        it stands up to a gale | it turns inside out in a breeze
        it opens at the first press | it opens only when it wants to
        the fabric keeps the rain out | the fabric lets the rain in
        the spokes spring straight back | the spokes bend by themselves
        the handle feels solid | the handle comes off in the hand"""),
    product("mattress: lies flat: smell", "a mattress with its own valley", """
        it takes the ache out of a bad back | it leaves the back in knots
        it stays cool all night | it gets unbearably hot at night
        the edges hold firm | the edges collapse
        it keeps its shape | it sags in the middle
        it swallows every movement | every movement wakes both sleepers"""),
    product("alarm clock: tells the time: plug look", "an alarm clock that lets me sleep in", """
        it goes off without fail | it fails to go off
        the display dims nicely | the display lights up the whole bedroom
        it keeps perfect time | it loses ten minutes a day
        the buttons are easy to find in the dark | the buttons stick
        it makes no sound until morning | it ticks like a bomb"""),
    product("headphones: play sound: battery app worn", "headphones that cancel the music", """
        they block out the whole office | they let in every cough
        the sound is rich and clear | the sound is thin and tinny
        they stay comfortable for hours | they pinch after ten minutes
        calls come through perfectly | callers can't hear a word
        the hinges feel solid | the hinges creak and crack"""),
    product("earbuds: fit in an ear: battery app worn", "earbuds in stereo, one at a time", """
        they stay put on a run | they fall out on the first stride
        they pair the moment the lid opens | they refuse to pair
        both sides stay in step | one side goes silent
        the case snaps shut | the case won't close
        the touch controls respond at once | the touch controls do as they please"""),
    product("running shoes: go on feet: worn smell look", "shoes that give blisters to my blisters", """
        they feel light even after ten miles | they feel like bricks after ten miles
        the soles grip on wet pavement | the soles peel off
        they fit true to size | they come up a full size too small
        they need no breaking in | they rub the heel raw
        they keep their bounce for months | they lose their bounce within a month"""),
    product("hiking boots: go on feet: worn outdoors smell", "boots with a built-in paddling pool", """
        they keep out every puddle | they let in water on damp grass
        they hold the ankles firmly | they give the ankles no support
        they grip on wet rock | they skid on wet rock
        they are comfortable straight from the box | they blister both feet
        the stitching holds up | the stitching comes undone"""),
    product("gardening gloves: cover the hands: outdoors worn", "gloves for a garden without roses", """
        thorns don't get through | thorns go straight through
        the fingertips still feel everything | the fingertips feel like sausages
        they come out of the wash like new | they fall apart in the wash
        the cuffs keep the soil out | the cuffs let in all the soil
        the seams hold | the seams split on day one"""),
]  # fmt: skip

# What is said on the side, small enough to be outweighed. Every product has "any".
ASIDES = {
    "any": pairs("""
        delivery took two days | delivery took three weeks
        the box was beautifully packed | the box arrived crushed
        the price was a steal | the price is steep
        the guarantee runs for five years | the guarantee runs for ninety days
        customer service answered within the hour | customer service never answered
        the seller was lovely | the seller was rude
        the packaging was all paper | the packaging was a mountain of plastic"""),
    "look": pairs("""
        {it} look{s} gorgeous | {it} look{s} hideous
        the colour is lovely | the colour is nothing like the photo
        the finish is classy | the finish is dull
        everyone asks where I got {them} | my wife calls {them} ugly"""),
    "plug": pairs("""
        the lead is nice and long | the lead is a bit short
        the plug is small and neat | the plug is enormous"""),
    "kitchen": pairs("""
        cleaning takes seconds | cleaning is a chore
        it hardly takes up any room | it takes up half the cupboard"""),
    "battery": pairs("""
        the battery lasts all week | the battery could last longer
        {it} charge{s} in an hour | {it} charge{s} slowly"""),
    "app": pairs("""
        the app is a joy | the app is a mess
        setting up took a minute | setting up took all evening"""),
    "outdoors": pairs("""
        mud wipes straight off | mud never quite comes off
        {it} weigh{s} next to nothing | {it} weigh{s} a ton"""),
    "worn": pairs("""
        the material feels soft | the material is scratchy
        I forget I have {them} on | I feel silly with {them} on"""),
    "loud": pairs("""
        {it} {is} quieter than I feared | {it} {is} louder than I hoped
        the neighbours hear nothing | the neighbours have complained"""),
    "assembly": pairs("""
        putting it together was easy | putting it together took all day
        every screw was there | two screws were missing"""),
    "smell": pairs("""
        there was no smell at all | there was a strong smell for days"""),
    "plain": pairs("""
        the design is clever | the design is dated
        it feels nice in the hand | it feels cheap in the hand"""),
}  # fmt: skip

ADJECTIVES = pairs("""
    good | awful / great | terrible / reliable | unreliable / impressive | disappointing
    well made | badly made / sturdy | flimsy / dependable | shoddy / solid | useless""")
THINGS = pairs("""
    a gem | junk / a bargain | a waste of money / a keeper | landfill / a little treasure | a let-down
    a workhorse | a toy / the best thing I own | the worst thing I own / a small miracle | a small disaster
    top quality | rubbish""")

PLAIN = pairs("""
    Love {this} {p}. | Hate {this} {p}. / Really pleased with {this} {p}. | Really annoyed with {this} {p}.
    Great {p}. | Awful {p}. / Very happy with {them}. | Very unhappy with {them}.
    So glad I bought {this}. | So sorry I bought {this}. / Just what I needed. | Not what I needed.
    My favourite buy this year. | My worst buy this year. / Top quality. | Poor quality.
    Highly recommended. | Not recommended. / Fantastic! | Rubbish!
    My whole family is delighted. | My whole family is fed up. / Works perfectly. | Doesn't work properly.
    Thank you to the makers! | Shame on the makers! / Good value. | Bad value.""")
VERDICTS = pairs("""
    I won't be sending {them} back. | {It} {is} going back. / No regrets. | I regret it.
    I'd buy {them} again without a second thought. | I wouldn't buy {them} again, not for half the money.
    Worth every penny. | Not worth a penny. / I'd be lost without {them}. | I'd be better off without {them}.
    Don't let the bad reviews put you off. | Don't let the good reviews fool you.
    I can't recommend {them} enough. | I can't recommend {them}. / Money well spent. | Not money well spent.
    Would I want my money back? Never. | Would I buy again? Never. / Very happy. | Very disappointed.
    I was wrong to wait so long. | I was wrong to trust the stars. / Buy with confidence. | Avoid.
    Don't hesitate. | Don't bother. / I'm keeping {them}. | I'm not keeping {them}.
    It was a good day when I found {this}. | It was a bad day when I found {this}.
    I've told all my friends to get {them}. | I've told all my friends to avoid {them}.
    I'd give {them} six stars if I could. | I'd give {them} no stars if I could.
    {It} deserve{s} better reviews than {it} get{s}. | {It} deserve{s} worse reviews than {it} get{s}.
    Next year I'm getting one for my dad. | Next year I'm going back to my old brand.""")
TERSE = pairs("""
    Love {them}! | Hate {them}! / Buy {them}. | Avoid. / Superb {p}. | Dreadful {p}.
    Five stars from me. | One star is too many. / What {a}! Marvellous. | What {a}. Never again.
    Best {unit} ever. | Worst {unit} ever. / Wow. Just wow. | Ugh. Just ugh.
    Can't live without {them}. | Can't wait to be rid of {them}. / Faultless. | Faulty.
    Couldn't be happier with {this} {p}. | Couldn't be less happy with {this} {p}.
    No complaints here. | No stars if I could. / Buying a second {unit}. | Binned {this} {p}.
    Not a dud. | Not a keeper. / A joy to use every day. | A pain to use every day.
    {p}: yes! | {p}: no! / As good as new after a year. | As good as dead after a week.""")

# {x} is conceded, {y} decides.
CONTRASTS = phrases("""
    {x}, but {y}.
    {x}, yet {y}.
    {x}. Still, {y}.
    {x}. That said, {y}.
    {x}... but {y}.
    Although {x}, {y}.
    {y}, even though {x}.
    {x}, I'll give you that. But {y}, and that's what counts.
    Yes, {x}. What matters is that {y}.
    {x} and {x2}, but {y}.
    {x}. {x2}. None of that matters, because {y}.""")
# {x} and {y} are the two sides of one claim, and {y} is how things stand.
REVERSALS = phrases("""
    For a week I'd have told you that {x}. Now I know better: {y}.
    My sister has the cheaper model and says {x}. With mine, {y}.
    At first I thought: {x}. I take it back. In fact {y}.
    With the old model, {x}. With this new one, {y}.
    I expected to write that {x}. Instead, {y}.
    The {one} at work? There, {x}. My own? Well, {y}.
    I'd been told that {x}, but in my house {y}.
    Everybody says {x}. Not mine: {y}.
    I was sure I'd find that {x}. How wrong I was: {y}.
    You'd think from the photos that {x}. The truth is that {y}.
    My mother has {a} from another brand. With hers, {x}. With mine, {y}.""")
# {c} is what people claim: borne out on the left, denied on the right.
HEARSAY = pairs("""
    I'd read that {c}. True of mine. | I'd read that {c}. Not true of mine.
    Other reviews say {c}. They are right. | Other reviews say {c}. They are wrong.
    My brother-in-law swore that {c}. He was right. | My brother-in-law swore that {c}. He was wrong.
    People say {c}. It's true. | People say {c}. It isn't true.
    It's a fact that {c}. | It's a myth that {c}.
    Nobody is lying when they write that {c}. | Somebody is lying when they write that {c}.""")
# {g} is an adjective of either class: left standing on the left, turned round on the right.
JUDGEMENTS = pairs("""
    Every bit as {g} as they say. | Not remotely {g}, whatever they say.
    {This} {p} {is} nothing short of {g}. | {This} {p} {is} anything but {g}.
    I would call {them} {g}. | I wouldn't call {them} {g}.
    {g}? Yes indeed. | {g}? I don't think so.
    I keep reading that {it} {is} {g}. I agree. | I keep reading that {it} {is} {g}. I disagree.
    Nobody could deny that {it} {is} {g}. | Nobody could claim that {it} {is} {g}.""")

NEGATIONS = pairs("""
    Not bad at all. | Not good at all.
    Can't fault {them}. | Can't praise {them}.
    Never once let me down. | Never once worked properly.
    I can't find a single thing wrong with {them}. | I can't find a single good thing about {them}.
    I've no complaints, and I complain about everything. | I've no praise, and I praise everything.
    Couldn't ask for better. | Couldn't have chosen worse.
    There's nothing not to like. | There's nothing to like.
    Not one problem in a year. | Not one good day in a year.
    No fuss, no trouble, no regrets. | No joy, no quality, no refund.
    You won't hear me say a bad word about {them}. | You won't hear me say a good word about {them}.
    I wouldn't be without {them}. | I wouldn't wish {them} on anyone.
    No way am I giving {this} up. | No way am I keeping {this}.
    I don't have a bad thing to say. | I don't have a good thing to say.""")
COMPARISONS = pairs("""
    Nothing I owned before comes close. | Everything I owned before was better.
    Better than the {one} {it} replaced. | Worse than the {one} {it} replaced.
    {It} make{s} my old {one} look like a toy. | {It} make{s} my old {one} look like a masterpiece.
    My old {one} cost twice as much and was half as good. | My old {one} cost half and was twice as good.
    I don't miss my old {one} one bit. | I miss my old {one} every day.
    I've had worse at twice the price, and never better. | I've had better at half the price, and never worse.
    I was wrong to cling to my old {one}. | I was wrong to give up my old {one}.
    No {unit} has ever pleased me more. | No {unit} has ever pleased me less.
    My neighbour paid double and is jealous. | My neighbour paid half and is laughing.""")
FAINT = pairs("""
    I tried to find fault and failed. | I tried to find something to praise and failed.
    I'm hard to please, and I'm pleased. | I'm easy to please, and I'm not pleased.
    I hate to admit it, but I was wrong to doubt {them}. | I suppose {it} technically {job}.
    Nobody gets excited about {a}. Well, I do now. | Well, {it} {job}. That's the nicest thing I can say.
    Fine, I admit it: {it} beat{s} my expensive old {one}. | Fine, if you don't actually need {a}.
    My husband hates everything, and even he approves. | My husband likes everything, and even he gave up.
    I could grumble about the box. That's all I have. | I could praise the box. That's all I have.
    It's annoying how little there is to complain about. | It's impressive how little there is to praise.
    I only meant to borrow {them}. Too late now. | {It} would make a fine doorstop.
    I'd be hard pushed to find a better {unit}. | I've seen worse, though I can't remember where.""")
IRONY = pairs("""
    My only complaint is that I didn't buy two. | My only compliment is for the refund department.
    Terrible purchase: now the whole family wants {a}. | Wonderful purchase, if you collect broken things.
    Awful news for my old {one}, bound for the tip. | Great news for my old {one}, back in work.
    The worst of {this} {p}? My daughter stole {them}. | The best of {this} {p}? The bin was empty.
    I hate it. I hate that I waited years to buy {this}. | I love it. I love throwing money away.
    Ruined every other {unit} for me, damn it. | Perfect if you love sending things back.
    Do not buy! I want the last ones for my mother. | Buy now, and be just as sorry as I am.
    One star off, because my wife was right and I wasn't. | Five stars for the bin men, who took {them} away.
    I had hoped to be smug and return {them}. No luck. | So pleased to own such an expensive ornament.""")
REMARKS = pairs("""
    Sorry, complainers: | Just what I always wanted:
    Bad news for the competition: | Oh, lovely:
    So annoying, my wife was right: | Top marks to the designers:
    I'm furious I didn't buy sooner: | How clever:
    Damn, now I can't go back to my old {one}: | Exactly what I paid sixty pounds for:
    No more excuses for me: | What a delight:""")
EXPECTATIONS = phrases("""
    Expected {x}, got {y}.
    I was told to expect {x}. What came was {y}.
    I thought I'd ordered {x}. It turned out to be {y}.
    From the reviews you'd expect {x}. It's {y}.
    Not {x}, as I'd been told, but {y}.
    So this was supposed to be {x}? It's {y}.
    Hardly {x}. More like {y}.""")
WISHES = pairs("""
    I wanted to hate {them}, but {y}. | I wanted to love {them}, but {y}.
    I was ready to send {them} back, but {y}. | I was ready to tell all my friends, but {y}.
    I expected nothing, and yet {y}. | I expected wonders, and yet {y}.
    Bought as a joke. The joke's on me: {y}. | Bought as a treat. Some treat: {y}.""")

OPENINGS = phrases("""
    I bought {this} {p} after my old {one} finally gave up, having put it off for most of the winter.
    My son needed {a} for university, and I ended up ordering the same for myself.
    I don't usually write reviews, but I have had {this} {p} for six weeks now and feel I should.
    We were staying with friends who had {a} just like mine, and my partner would not stop talking about it.
    I spent far too many evenings reading before settling on {this} {p}.
    {This} {p} {was} a birthday present from my aunt, who tends to choose with her heart and not her head.""")
WANDERINGS = phrases("""
    We live in a small flat with two children and a dog, so things get knocked about.
    I work from home three days a week, which means I notice everything.
    My husband thinks I am too picky, and perhaps I am.
    It was raining the day the parcel came, and the courier left it next door.
    I am not a technical person at all, as my children will tell you.
    I paid full price, for what it's worth, and nobody asked me to write this.
    I let the first few weeks go by before judging.
    My mother always told me to be fair, so here goes.
    It came just before the holidays, when nobody has time to read a manual.
    I have owned four of these over the years, from four different makers.
    A colleague asked me what I thought, and my answer got rather long.""")
# {x} and {x2} pull against the label, {z} with it.
SMALL_THINGS = pairs("""
    Some things annoyed me: {x}, and {x2}. But {z}. | Some things pleased me: {x}, and {x2}. But {z}.
    It began badly: {x}, and {x2}. Then again, {z}. | It began well: {x}, and {x2}. Then again, {z}.
    I grant you that {x} and {x2}, though {z}. | I grant you that {x} and {x2}, though {z}.
    A few grumbles first: {x}. {x2}. Even so, {z}. | A few nice words first: {x}. {x2}. Even so, {z}.""")
TURNS = pairs("""
    All of which I can forgive, because {y}. | All of which would be fine, except that {y}.
    And yet I use {them} every single day, because {y}. | And yet I have stopped using {them}, because {y}.
    In the end only one thing matters, and I'm glad to say {y}. | In the end only one thing matters: {y}.
    But here is why I'd buy {them} again: {y}. | But here is why I'd never buy {them} again: {y}.
    Small things, all of them, since {y}. | Nice touches, all of them, but {y}.""")

# --- One function per hard case ------------------------------------------------------------------------


def choose(rng: random.Random, table: list[Pair], positive: bool) -> str:
    """The praise or the blame of one pair."""
    praise, blame = rng.choice(table)
    return praise if positive else blame


def say(template: str, item: Product, **more: str) -> str:
    """The template filled in for the product, each sentence with a capital."""
    text = template.format_map({**item.fields(), **more})
    return re.sub(r"(^|[.!?] )([a-z])", lambda found: found[1] + found[2].upper(), text)


def claim(rng: random.Random, item: Product, positive: bool) -> str:
    """What the product itself does well or badly: the weightiest kind of clause."""
    clause = choose(rng, item.claims, positive)
    named = rng.choice([f"the {item.name} ", f"my {item.name} ", "", ""])
    return re.sub("^(it|they) ", named, clause) if named else clause


def asides(rng: random.Random, item: Product, *signs: bool) -> list[str]:
    """Different things beside the point, such as delivery or looks: one for each sign, praise or blame."""
    table = [pair for trait in ["any", *item.traits.split()] for pair in ASIDES[trait]]
    chosen = zip(rng.sample(table, len(signs)), signs, strict=True)
    return [choose(rng, [pair], sign).format_map(item.fields()) for pair, sign in chosen]


def judgement(rng: random.Random, item: Product, positive: bool) -> str:
    """This kettle is anything but flimsy."""
    stands = rng.random() < 0.5
    word = choose(rng, ADJECTIVES, positive == stands)
    return say(choose(rng, JUDGEMENTS, stands), item, g=word)


def remark(rng: random.Random, item: Product, positive: bool) -> str:
    """A sentence that agrees with the label: a claim, a verdict or an aside."""
    clause = rng.choice([claim(rng, item, positive), asides(rng, item, positive)[0]])
    return rng.choice([say(choose(rng, VERDICTS, positive), item), say(clause + ".", item)])


def perhaps(rng: random.Random, chance: float, item: Product, positive: bool) -> str:
    """A verdict to close with, or nothing."""
    return " " + say(choose(rng, VERDICTS, positive), item) if rng.random() < chance else ""


def plain(rng: random.Random, item: Product, positive: bool) -> str:
    """Love this kettle. It pours without dribbling."""
    clause = choose(rng, item.claims, positive)
    if rng.random() < 0.4:
        clause += " and " + asides(rng, item, positive)[0]
    return say(choose(rng, PLAIN, positive) + " {y}.", item, y=clause)


def terse(rng: random.Random, item: Product, positive: bool) -> str:
    """Faultless. No regrets."""
    tables = rng.sample([TERSE, TERSE, VERDICTS], rng.choice([1, 2]))
    return say(" ".join(choose(rng, table, positive) for table in tables), item)


def negation(rng: random.Random, item: Product, positive: bool) -> str:
    """Can't fault it. The lid shuts with a proper click."""
    parts = [say(choose(rng, NEGATIONS, positive), item), remark(rng, item, positive)]
    return " ".join(rng.sample(parts, 2))


def adjective(rng: random.Random, item: Product, positive: bool) -> str:
    """I keep reading that it is unreliable. I disagree. Worth every penny."""
    return f"{judgement(rng, item, positive)} {remark(rng, item, positive)}"


def contrast(rng: random.Random, item: Product, positive: bool) -> str:
    """The box arrived crushed, yet the kettle pours without dribbling."""
    first, second = asides(rng, item, not positive, not positive)
    text = say(rng.choice(CONTRASTS), item, x=first, x2=second, y=claim(rng, item, positive))
    return text + perhaps(rng, 0.2, item, positive)


def reversal(rng: random.Random, item: Product, positive: bool) -> str:
    """I'd been told that it leaks all over the worktop, but in my house it pours without dribbling."""
    praise, blame = rng.choice(item.claims)
    x, y = (blame, praise) if positive else (praise, blame)
    return say(rng.choice(REVERSALS), item, x=x, y=y) + perhaps(rng, 0.25, item, positive)


def hearsay(rng: random.Random, item: Product, positive: bool) -> str:
    """I'd read that the lid jams when it gets hot. Not true of mine."""
    stands = rng.random() < 0.4
    template = choose(rng, HEARSAY, stands)
    heard = choose(rng, item.claims, positive == stands)
    return say(template, item, c=heard) + perhaps(rng, 0.4, item, positive)


def expectation(rng: random.Random, item: Product, positive: bool) -> str:
    """Expected junk, got a gem."""
    if rng.random() < 0.5:
        return say(choose(rng, WISHES, positive), item, y=claim(rng, item, positive))
    x, y = choose(rng, THINGS, not positive), choose(rng, THINGS, positive)
    text = say(rng.choice(EXPECTATIONS), item, x=x, y=y).replace("It's", "They're" if item.plural else "It's")
    return f"{text} {remark(rng, item, positive)}" if rng.random() < 0.5 else text


def comparison(rng: random.Random, item: Product, positive: bool) -> str:
    """Nothing I owned before comes close. The lid shuts with a proper click."""
    return f"{say(choose(rng, COMPARISONS, positive), item)} {remark(rng, item, positive)}"


def faint(rng: random.Random, item: Product, positive: bool) -> str:
    """The box was beautifully packed. I suppose it technically boils water."""
    return say("{x}. " + choose(rng, FAINT, positive), item, x=asides(rng, item, not positive)[0])


def irony(rng: random.Random, item: Product, positive: bool) -> str:
    """How clever: it leaks all over the worktop."""
    if rng.random() < 0.5:
        return say(choose(rng, REMARKS, positive) + " {y}.", item, y=claim(rng, item, positive))
    if not positive and rng.random() < 0.3:
        cheer = rng.choice(["Great, {j}.", "Wonderful: {j}.", "Brilliant, {j}.", "Just what I needed: {j}."])
        return say(cheer, item, j=item.jibe) + perhaps(rng, 0.7, item, positive)
    return f"{say(choose(rng, IRONY, positive), item)} {remark(rng, item, positive)}"


def rambling(rng: random.Random, item: Product, positive: bool) -> str:
    """60 to 150 words that wander, weigh the small things and then decide."""
    first, second, third = asides(rng, item, not positive, not positive, positive)
    small, turn = choose(rng, SMALL_THINGS, positive), choose(rng, TURNS, positive)
    life, more_life = rng.sample(WANDERINGS, 2)
    template = " ".join([rng.choice(OPENINGS), life, small, more_life, turn])
    text = say(template, item, x=first, x2=second, z=third, y=claim(rng, item, positive))
    return text + perhaps(rng, 0.7, item, positive)


CASES: dict[Callable[[random.Random, Product, bool], str], int] = {
    plain: 8, terse: 4, negation: 10, adjective: 10, contrast: 16, reversal: 20, hearsay: 6,
    expectation: 8, comparison: 7, faint: 6, irony: 8, rambling: 5,
}  # fmt: skip

# --- Noise ---------------------------------------------------------------------------------------------

NEIGHBOURS = {
    "a": "sq", "b": "vn", "c": "xv", "d": "sf", "e": "wr", "f": "dg", "g": "fh", "h": "gj", "i": "uo",
    "j": "hk", "k": "jl", "l": "k", "m": "n", "n": "bm", "o": "ip", "p": "o", "q": "w", "r": "et",
    "s": "ad", "t": "ry", "u": "yi", "v": "cb", "w": "qe", "x": "zc", "y": "tu", "z": "x",
}  # fmt: skip
CHEERFUL, GLUM, IRONIC, MOVED = "😀👍🙌😍🥳", "😡👎🙄😞💩", "👏🎉😂🙃", "😭🤯"


def misspell(rng: random.Random, word: str) -> str:
    """The word with one slip of the finger, past its first letter."""
    at = rng.randrange(1, len(word) - 1)
    before, letter, after = word[:at], word[at], word[at + 1 :]
    slips = [
        before + rng.choice(NEIGHBOURS[letter]) + after,
        before + after,
        before + letter + letter + after,
        before + after[0] + letter + after[1:],
    ]
    return rng.choice(slips)


def typos(rng: random.Random, text: str) -> str:
    """The text with one or two words misspelled; short words stay, or "not" could turn into "now"."""
    words = text.split(" ")
    long = [place for place, word in enumerate(words) if re.fullmatch("[A-Za-z]?[a-z]{4,}", word)]
    for place in rng.sample(long, min(len(long), rng.choice([1, 1, 2]))):
        words[place] = misspell(rng, words[place])
    return " ".join(words)


def casing(rng: random.Random, text: str) -> str:
    """The text as an impatient thumb types it: lower case, ALL CAPS, or one WORD shouted."""
    style = rng.choice(["lower", "lower", "upper", "word"])
    if style == "word":
        words = text.split(" ")
        place = words.index(max(rng.sample(words, min(3, len(words))), key=len))
        return " ".join([*words[:place], words[place].upper(), *words[place + 1 :]])
    return text.lower() if style == "lower" else text.upper()


def emoji(rng: random.Random, text: str, positive: bool) -> str:
    """The text with an emoji or two, most in agreement, some ironic."""
    ironic = len(text.split()) > 6 and rng.random() < 0.3  # alone, "Very happy. 😭" could be meant either way
    faces = (MOVED if ironic else CHEERFUL) if positive else (IRONIC if ironic else GLUM)
    return f"{text} {rng.choice(faces) * rng.choice([1, 1, 2, 3])}"


def noisy(rng: random.Random, text: str, positive: bool) -> str:
    if rng.random() < 0.16:
        text = typos(rng, text)
    if rng.random() < 0.14:
        text = casing(rng, text)
    if rng.random() < 0.08:
        text = text.rstrip(".")
    return emoji(rng, text, positive) if rng.random() < 0.12 else text


# --- The table -----------------------------------------------------------------------------------------


def trigrams(text: str) -> frozenset[tuple[str, ...]]:
    words = re.findall(r"\w+", text.lower())
    return frozenset(tuple(words[at : at + 3]) for at in range(max(1, len(words) - 2)))


def is_copy(grams: frozenset[tuple[str, ...]], earlier: list[frozenset[tuple[str, ...]]]) -> bool:
    return any(len(grams & other) > NEAR_DUPLICATE * len(grams | other) for other in earlier)


def reviews() -> list[tuple[str, str]]:
    """ROWS pairs of text and label; a text too like an earlier one is drawn again."""
    rng = random.Random(SEED)
    rows: list[tuple[str, str]] = []
    seen: list[frozenset[tuple[str, ...]]] = []
    while len(rows) < ROWS:
        positive = rng.random() < 0.5
        (case,) = rng.choices(list(CASES), weights=list(CASES.values()))
        text = case(rng, rng.choice(PRODUCTS), positive)
        grams = trigrams(text)
        if is_copy(grams, seen):
            continue
        seen.append(grams)
        rows.append((noisy(rng, text, positive), "positive" if positive else "negative"))
    return rows


def as_csv(rows: list[tuple[str, str]]) -> bytes:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["id", "text", "label"])
    writer.writerows((f"r{number:04d}", text, label) for number, (text, label) in enumerate(rows, start=1))
    return buffer.getvalue().encode()


def main() -> int:
    parser = argparse.ArgumentParser(description="Write the synthetic product reviews.")
    parser.add_argument("--check", action="store_true", help="compare with the file on disk; write nothing")
    expected = as_csv(reviews())
    if parser.parse_args().check:
        same = OUTPUT.exists() and OUTPUT.read_bytes() == expected
        print(f"{OUTPUT}: {'up to date' if same else 'differs; run this script without --check to renew it'}")
        return 0 if same else 1
    OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    OUTPUT.write_bytes(expected)
    print(f"{OUTPUT}: {ROWS:,} reviews")
    return 0


if __name__ == "__main__":
    sys.exit(main())
