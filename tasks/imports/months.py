"""Names of months, and how they are shortened, in English, German, French and Spanish. Pure."""

_NAMES = (
    "january jan januar jänner janner janvier janv enero ene",
    "february feb februar februari février fevrier févr fevr fév fev febrero",
    "march mar märz marz mär mrz mars marzo",
    "april apr avril avr abril abr",
    "may mai mayo",
    "june jun juni juin junio",
    "july jul juli juillet juil julio",
    "august aug août aout agosto ago",
    "september sep sept septembre septiembre set",
    "october oct oktober okt octobre octubre",
    "november nov novembre noviembre",
    "december dec dezember dez décembre decembre déc diciembre dic",
)
MONTHS = {name: month for month, names in enumerate(_NAMES, 1) for name in names.split()}
