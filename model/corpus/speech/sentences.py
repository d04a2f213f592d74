"""Sentences to be spoken: a small grammar, lists of words in several languages, and made-up words.

For a mouth the meaning does not matter, but the sequence of sounds does. The grammar gives a natural rhythm. The
made-up words put every sound beside every other, with more closures and rounding than ordinary text has.
"""

from __future__ import annotations

import random

_SUBJECTS = """my mother|the baker|an old farmer|five brown puppies|the whole village|a few people|the pilot|our
neighbour|somebody|the woman with the blue umbrella|the boy from upstairs|both of us|a very tall fisherman|the
committee|everyone here|Bob|Emma|the museum|a former student|the weather|my favourite book|the vet|the shopkeeper|two
musicians|the mayor|the whole family|a famous painter|the puppet maker|your father|the referee""".replace("\n", " ")
_VERBS = """borrowed|bought|found|left behind|wrapped up|painted|would love|remembers|never mentions|could not
open|put away|moved|followed|brought back|heard about|saw|threw out|asked for|prefers|fixed|watched|measured|picked
up|forgot|wants to sell|has finished|offered|kept|built|chose""".replace("\n", " ")
_OBJECTS = """a map of the harbour|the broken piano|fourteen apples|the wooden boat|a warm cup of coffee|the front
door|some fresh bread|that awful movie|the yellow bicycle|every photograph|a bowl of soup|the shape of the moon|a bag
of peppers|the morning paper|his own voice|the old theatre|a woollen jumper|the first chapter|a pair of shoes|the
number of people|a beautiful view|the fifth problem|plum jam|the whole pizza|a purple balloon|their summer house|a
thousand pebbles|the answer|your message|seven white feathers""".replace("\n", " ")
_ENDINGS = """before breakfast|in the middle of the room|without a word|by the river|for the very first time|on Monday
afternoon|after the show|because nobody came|when the bell rang|as far as I know|over and over again|from the top of the
hill|if you ask me|in February|with both hands|to our surprise|above the shop|at half past four|all week|while it was
raining|so we went home|just in time|under the bridge|more or less""".replace("\n", " ")
_OPENINGS = """well|to be fair|of course|maybe|believe me|by the way|unfortunately|once more|as we say|in my opinion|
you know|finally|yes|no|good evening|hello again|look|oh""".replace("\n", " ")
_NUMBERS = "zero one two three four five six seven eight nine ten twelve fifteen forty fifty hundred".split()

_WORDS = {
    "es": """buenos días casa puerta familia mañana pueblo bueno amigo vamos problema agua fuego mujer hombre playa
    verano invierno siempre nunca palabra pequeño blanco libro mucho gusto abuela plaza febrero jueves música por favor
    quiero comprar pan fresco una vez más hablamos poco tiempo viaje""",
    "fr": """bonjour maison porte famille matin village beau ami voulons problème eau feu femme homme plage été hiver
    toujours jamais parole petit blanc livre beaucoup pomme bouche février musique pourquoi peut-être une fois encore
    nous parlons peu voyage lune rouge bateau voiture chambre""",
    "de": """guten Morgen Haus Tür Familie Wasser Feuer Frau Mann Strand Sommer Winter immer niemals Wort klein weiß
    Buch Apfel Mund Februar Musik warum vielleicht noch einmal wir sprechen wenig Zeit Reise schöne Blume Brot fünf
    Brücke über München Pfeffer""",
    "it": """buongiorno casa porta famiglia mattina paese bello amico andiamo problema acqua fuoco donna uomo spiaggia
    estate inverno sempre mai parola piccolo bianco libro molto piacere bocca febbraio musica perché forse ancora una
    volta parliamo poco tempo viaggio pomodoro""",
    "pt": """bom dia casa porta família manhã aldeia amigo vamos problema água fogo mulher homem praia verão inverno
    sempre nunca palavra pequeno branco livro muito prazer boca fevereiro música porque talvez outra vez falamos pouco
    tempo viagem pão""",
    "ru": """доброе утро дом дверь семья вода огонь женщина мужчина берег лето зима всегда никогда слово маленький белый
    книга много яблоко февраль музыка почему может быть ещё раз мы говорим мало времени поездка хлеб пять мост""",
    "pl": """dzień dobry dom drzwi rodzina woda ogień kobieta plaża lato zima zawsze nigdy słowo mały biały książka
    jabłko luty muzyka dlaczego może jeszcze raz mówimy mało czasu podróż chleb pięć most""",
    "nl": """goedemorgen huis deur familie water vuur vrouw man strand zomer winter altijd nooit woord klein wit boek
    appel mond februari muziek waarom misschien nog een keer wij spreken weinig tijd reis brood vijf brug""",
    "tr": """günaydın ev kapı aile su ateş kadın adam yaz kış her zaman hiçbir kelime küçük beyaz kitap elma ağız şubat
    müzik neden belki bir daha konuşuyoruz az vakit yolculuk ekmek beş köprü""",
    "cmn": """你好 早上 房子 门 家 水 火 女人 男人 夏天 冬天 书 苹果 音乐 为什么 也许 我们 说话 时间 面包 五 桥 朋友
    不要 明白 非常 漂亮""",
    "ja": """おはよう いえ ドア かぞく みず ひ おんな おとこ なつ ふゆ いつも ことば ちいさい しろい ほん りんご
    くち おんがく なぜ たぶん もういちど はなします すこし じかん たび パン はし""",
}
LANGUAGES = ("en", *_WORDS)

_ONSETS = "b p m f v w th s sh ch j l r n d t k g h br pl fr sm sp sw bl pr kw y st tr".split()
_VOWELS = "a ee oo oh i e u ow oy ar or er ay ai aw".split()
_CODAS = "m b p f v s sh n t d k l th ng z mp st".split() + [""] * 8


def _pick(rng: random.Random, choices: str) -> str:
    """Return one of the phrases that | separates."""
    return " ".join(rng.choice(choices.split("|")).split())


def _made_up_word(rng: random.Random) -> str:
    """Return a made-up word of one to three syllables."""
    return "".join(
        rng.choice(_ONSETS) + rng.choice(_VOWELS) + rng.choice(_CODAS) for _ in range(rng.choice((1, 1, 2, 2, 3)))
    )


def sentence(rng: random.Random, language: str) -> str:
    """Draw one sentence of 3 to 14 words in `language` (one of LANGUAGES), with a full stop.

    The same state of `rng` gives the same sentence. Raises KeyError for another language.
    """
    if language != "en":
        words = _WORDS[language].split()
        chosen = [rng.choice(words) for _ in range(rng.randint(3, 9))]
        if len(chosen) > 5:
            chosen[3] += ","
        return " ".join(chosen) + "."
    kind = rng.random()
    if kind < 0.2:
        return " ".join(_made_up_word(rng) for _ in range(rng.randint(4, 8))) + "."
    if kind < 0.28:
        return " ".join(rng.choice(_NUMBERS) for _ in range(rng.randint(4, 8))) + "."
    text = f"{_pick(rng, _SUBJECTS)} {_pick(rng, _VERBS)} {_pick(rng, _OBJECTS)}"
    if rng.random() < 0.6:
        text = f"{text} {_pick(rng, _ENDINGS)}"
    if rng.random() < 0.35:
        text = f"{_pick(rng, _OPENINGS)}, {text}"
    return text + "."
