# ruff: noqa: E501 (a text is one line)
"""Sensitive values and look-alikes set into every kind of surrounding, with words for them and without.

Numbers come from the example numbers of ``phonenumbers`` and from ``labelled_values``; what stands around them is made
here. A value stands at the very beginning or end, in quotes, brackets, tags, lists and files.
"""

from __future__ import annotations

from random import Random

import phonenumbers
from oracles import labelled_secrets, labelled_values, lookalikes
from oracles.handwritten_texts import marked
from oracles.labelled_texts import LabelledText

__all__ = ["REGIONS", "national_phones", "surrounded_lookalikes", "surrounded_values"]

REGIONS = ("US", "GB", "DE", "FR", "ES", "IT", "PL", "JP", "IN", "BR", "AU")

SURROUNDINGS = (
    "{}", "{}.", "{},", "({})", "[{}]", "\"{}\"", "'{}'", "<{}>", "`{}`", "**{}**", "{};", "{}\n", "\n{}", "\t{}\t", ">{}<",
    "={}", ": {}", "-> {}", "“{}”", "«{}»", "- {}", "* {}", "{} - ok", "{}, {}", "{};{}", "{}|{}", "{}\t{}", "{}\n{}",
    "{} / {}", "{} and {}", "a,{},b", "a;{};b", "a|{}|b", "x\t{}\ty", "<td>{}</td>", "{{\"v\":\"{}\"}}", "[\"{}\",\"{}\"]",
    "('{}', 12)", "v: {}", "v={}", "V={} w=2", "words before {} words after", "see {}?", "it is {}!", "…{}…", "（{}）", "{}。",
    "1) {}\n2) {}", "Re: {}", "{} (new)", "{} :)", "note - {} - end", "<br>{}<br/>", "!!{}!!", "#1 {}", "\\n{}\\n",
)  # fmt: skip
WORDS = {
    "US": ("Phone: ", "call me at ", "cell ", "tel. ", "Fax: ", "mobile: ", "her number is ", "Contact: ", "ph ", "phone="),
    "GB": ("Tel: ", "ring ", "mob ", "phone number ", "landline ", "call ", "T: ", "telephone "),
    "DE": ("Tel.: ", "Telefon ", "Handy: ", "Mobil ", "Rufnummer ", "erreichbar unter ", "Fax ", "Telefonnummer: "),
    "FR": ("Tél : ", "téléphone ", "portable ", "mobile : ", "appelez le ", "Fax : ", "numéro de téléphone "),
    "ES": ("Tel. ", "teléfono: ", "móvil ", "llámame al ", "celular ", "Tfno: ", "fijo "),
    "IT": ("Tel. ", "telefono ", "cell. ", "cellulare: ", "chiamami al ", "Fax "),
    "PL": ("tel. ", "telefon: ", "kom. ", "komórka ", "nr tel. ", "zadzwoń ", "numer telefonu: "),
    "JP": ("電話 ", "電話番号：", "携帯 ", "TEL: ", "tel "),
    "IN": ("Mobile: ", "phone ", "mob no ", "call ", "फोन ", "Contact no. ", "whatsapp "),
    "BR": ("Tel: ", "telefone ", "celular ", "WhatsApp: ", "ligar para ", "Fone: "),
    "AU": ("Ph: ", "phone ", "mobile ", "call ", "M: ", "mob. "),
}  # fmt: skip
LAYOUTS = {
    "US": ("({0}) {1}-{2}", "({0}){1}-{2}", "{0}-{1}-{2}", "{0}.{1}.{2}", "{0} {1} {2}", "{0}{1}{2}", "1-{0}-{1}-{2}",
           "1 {0} {1} {2}", "+1 {0} {1} {2}", "+1-{0}-{1}-{2}", "+1 ({0}) {1}-{2}", "+1{0}{1}{2}", "+1.{0}.{1}.{2}",
           "001 {0} {1} {2}", "{0}/{1}-{2}", "({0}) {1} {2}", "({0}) {1}.{2}"),
}  # fmt: skip
KINDS = (
    ("C", ("card ", "Visa: ", "cc=", "Karte ", "carte ", "tarjeta: ", "pan: ", ""), labelled_values.written_card),
    ("C", ("card number ", "credit card: "), lambda rng: labelled_values.written_card(rng, labelled_values.RARE_CARDS)),
    ("I", ("IBAN ", "iban: ", "to ", ""), labelled_values.written_iban),
    ("E", ("mail ", "e-mail: ", "", "cc "), lambda rng: labelled_values.email(rng, "ascii")),
    ("A", ("ip ", "from ", "", "host: "), labelled_values.ip),
    ("M", ("mac ", "", "hw "), labelled_values.mac),
    ("N", ("NINO ", "NI no. ", "National Insurance number: "), labelled_values.written_nino),
    ("H", ("NHS number ", "NHS: ", "nhs no. "), labelled_values.written_nhs),
    ("S", ("SSN ", "ssn: ", "social security number ", "SSN="), labelled_values.ssn),
    ("T", ("ITIN ", "taxpayer id: "), labelled_values.itin),
    ("W", ("wallet ", "", "btc/eth: "), labelled_secrets.crypto_address),
    ("U", ("", "db "), labelled_secrets.credential_url),
    ("K", ("", "key "), labelled_secrets.token),
    ("D", ("born ", "DOB: ", "date of birth ", "birthday "), lambda rng: labelled_values.date_of_birth(rng, "en")),
)  # fmt: skip


def surrounded_values(seed: int) -> list[LabelledText]:
    """Returns each kind of value in each surrounding."""
    rng = Random(seed)
    made = []
    for kind, words, make in KINDS:
        for around in SURROUNDINGS:
            word = rng.choice(words)
            values = [f"{word}⟪{kind}|{make(rng)}⟫" for _ in range(around.count("{}"))]
            made.append(marked(around.format(*values)))
    return made


def national_phones(seed: int) -> list[LabelledText]:
    """Returns numbers of each region in national and international layouts, each after a word for it or a plus."""
    rng = Random(seed)
    made = []
    for region in REGIONS:
        for _ in range(40):
            written = _written(rng, region)
            word = rng.choice(WORDS[region])
            around = rng.choice(SURROUNDINGS[:12] + SURROUNDINGS[30:44])
            made.append(marked(around.format(*[f"{word}⟪P|{written}⟫"] * around.count("{}"))))
    return made


def surrounded_lookalikes(seed: int) -> list[LabelledText]:
    """Returns look-alikes of every kind in every surrounding, without any word."""
    rng = Random(seed)
    made = []
    for name, make in lookalikes.LOOKALIKES.items():
        if name in ("package", "ean", "part", "version"):  # only a word tells
            continue
        for around in SURROUNDINGS:
            word = rng.choice(("", "", f"{name} ", "ref "))
            made.append(LabelledText(around.format(*[word + make(rng) for _ in range(around.count("{}"))])))
    return made


def _written(rng: Random, region: str) -> str:
    number = _number(rng, region)
    significant = phonenumbers.national_significant_number(number)
    if region == "US":
        return rng.choice(LAYOUTS["US"]).format(significant[:3], significant[3:6], significant[6:])
    national = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.NATIONAL)
    international = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.INTERNATIONAL)
    code = str(number.country_code)
    trunk = "" if region in ("ES", "PL", "IT", "BR") else "(0)"
    rest = international.removeprefix("+" + code).strip()
    layouts = [
        national, national, national.replace(" ", "-"), "".join(filter(str.isdigit, national)), international,
        international.replace(" ", ""), international.replace(" ", "-"), "00" + code + " " + rest, "00" + code + significant,
        f"+{code} {trunk}{rest}", f"+{code} {trunk} {rest}".replace("  ", " "), national.replace(" ", "."),
        f"+{code}.{rest}".replace(" ", "."),
    ]  # fmt: skip
    return rng.choice([layout for layout in layouts if not layout.startswith("((")])


def _number(rng: Random, region: str) -> phonenumbers.PhoneNumber:
    kind = rng.choice((phonenumbers.PhoneNumberType.MOBILE, phonenumbers.PhoneNumberType.FIXED_LINE))
    example = phonenumbers.national_significant_number(phonenumbers.example_number_for_type(region, kind))
    while True:
        digits = example[:4] + labelled_values.drawn(rng, labelled_values.DIGITS, len(example) - 4)
        number = phonenumbers.PhoneNumber(
            country_code=phonenumbers.country_code_for_region(region), national_number=int(digits)
        )
        if region == "IT" and digits.startswith("0"):
            number.italian_leading_zero = True
        if phonenumbers.is_valid_number_for_region(number, region):
            return number
