"""The words that demo records are made of; every list is our own."""

# ruff: noqa: SIM905 - a list of words is read and extended most easily as one text

from __future__ import annotations

COMPANY_FIRST = (
    "Northwind Harbour Granite Bluebird Cedar Copper Delta Eastgate Fairview Glacier Highland Ironwood Juniper "
    "Kestrel Lakeside Meridian Nimbus Orchard Pinnacle Quartz Redwood Silverline Tidewater Umbra Vantage Westbrook "
    "Yellowstone Zephyr Aurora Beacon Cobalt Driftwood Ember Foxglove Goldfinch Hawthorn Indigo Jasper Kingfisher Lumen"
).split()
COMPANY_SECOND = (
    "Logistics Foods Textiles Instruments Robotics Paper Brewing Marine Optics Energy Software Plastics Forestry "
    "Analytics Pharma Aviation Ceramics Dynamics Fisheries Glassworks Hydraulics Interiors Joinery Kitchens Labs "
    "Machinery Networks Outfitters Printing Railways Systems Tooling Ventures Watches"
).split()
COMPANY_FORM = ["GmbH", "Ltd", "Inc.", "AG", "B.V.", "S.A.", "& Sons", "& Co. KG", "Group", "plc", "", ""]

# A name and the letters that an e-mail address makes of it, in step.
FIRST_NAMES = (
    "Ada Björn Chloé Dmitri Élodie Farid Grace Hiro Ingrid José Katarzyna Liam Mónica Noor Olu Priya Quentin Rosa "
    "Søren Tuulikki Uma Václav Wanjiru Xiulan Yusuf Zoë Aoife Bram Carmen Diego Esther Fatima Günther Hanna Ivan "
    "Jana Kofi Leila Mateo Nadia Oskar Paula Rafael Siobhán Tariq Ursula Viktor Wendy Yara Zdeněk"
).split()
FIRST_ASCII = (
    "ada bjorn chloe dmitri elodie farid grace hiro ingrid jose katarzyna liam monica noor olu priya quentin rosa "
    "soren tuulikki uma vaclav wanjiru xiulan yusuf zoe aoife bram carmen diego esther fatima gunther hanna ivan "
    "jana kofi leila mateo nadia oskar paula rafael siobhan tariq ursula viktor wendy yara zdenek"
).split()
LAST_NAMES = (
    "Abbott Bergström Castañeda D'Arcy Eriksen Fitzgerald García Haddad Iversen Jørgensen Kowalczyk Lindqvist Müller "
    "Nakamura O'Brien Petrović Quispe Rossi Schäfer Takahashi Ueda Vasquez Weiß Xu Yılmaz Zhang Adeyemi Brandt "
    "Chaudhry Duarte Ekström Ferreira Grünwald Hoang Ivanova Jansen Kaya Laurent Mbeki Novák Okafor Popescu Reid "
    "Sato Tremblay Ustinov Visser Walsh Yeo Zimmermann"
).split()
LAST_ASCII = (
    "abbott bergstrom castaneda darcy eriksen fitzgerald garcia haddad iversen jorgensen kowalczyk lindqvist muller "
    "nakamura obrien petrovic quispe rossi schafer takahashi ueda vasquez weiss xu yilmaz zhang adeyemi brandt "
    "chaudhry duarte ekstrom ferreira grunwald hoang ivanova jansen kaya laurent mbeki novak okafor popescu reid "
    "sato tremblay ustinov visser walsh yeo zimmermann"
).split()
MAIL_DOMAINS = ["example.com", "example.org", "example.net", "mail.example.com", "post.example.org"]

STREETS = (
    "Mill Lane|Harbour Road|Station Street|Hauptstraße|Rue de l'Église|Calle Mayor|Via Roma|Lindenallee|High Street|"
    "Kirkegata|Ulica Długa|Queen's Parade|Canal Walk|Orchard Close|Avenida da Liberdade|Bridge Street"
).split("|")
# City, state, country and the way a postal code looks, in step.
CITIES = "Hamburg|Lyon|Leeds|Porto|Graz|Ghent|Malmö|Kraków|Boston|Portland|Osaka|Nairobi|Adelaide|Utrecht".split("|")
STATES = (
    "HH|ARA|West Yorkshire|Porto|Steiermark|Oost-Vlaanderen|Skåne|Małopolskie|MA|OR|Osaka|Nairobi|SA|Utrecht".split("|")
)
COUNTRIES = (
    "Germany|France|United Kingdom|Portugal|Austria|Belgium|Sweden|Poland|United States|United States|Japan|Kenya|"
    "Australia|Netherlands"
).split("|")
POST_CODES = "20095|69003|LS1 4AP|4050-123|8010|9000|211 22|31-042|02108|97201|530-0001|00100|5000|3511 AB".split("|")
DIAL_CODES = "+49 40|+33 4|+44 113|+351 22|+43 316|+32 9|+46 40|+48 12|+1 617|+1 503|+81 6|+254 20|+61 8|+31 30".split(
    "|"
)

INDUSTRIES = [
    "Manufacturing",
    "Manufacturing",
    "Retail",
    "Technology",
    "Technology",
    "Healthcare",
    "Shipping",
    "Energy",
    "Food & Beverage",
    "Education",
    "Finance",
    "Other",
]
TITLES = (
    "Head of Purchasing|Plant Manager|Chief Executive Officer|VP Operations|Buyer|IT Director|Controller|"
    "Warehouse Lead|Managing Director|Quality Engineer|Assistant to the Board|Service Desk Analyst"
).split("|")
DEPARTMENTS = "Purchasing|Operations|Finance|IT|Quality|Logistics|Board|Service".split("|")
LANGUAGES = "English|German|French|Portuguese|Japanese".split("|")

PRODUCT_KIND = "Sensor|Gateway|Pump|Controller|Licence|Training Day|Valve|Display|Support Plan|Retrofit Kit".split("|")
PRODUCT_LINE = "Alta|Boreal|Cirro|Dyna|Equinox|Forma|Gamma|Helio".split("|")
PRODUCT_FAMILY = {
    "Licence": "Software",
    "Training Day": "Training",
    "Support Plan": "Service",
    "Retrofit Kit": "Service",
}

DEAL_KIND = "Rollout|Renewal|Pilot|Extension|Replacement|Upgrade|Framework".split("|")
NEXT_STEPS = (
    "Send the quote|Call the buyer|Wait for the board|Visit the site|Legal review|Agree on delivery dates".split("|")
)
CASE_SUBJECTS = (
    "Reading drops to zero after restart|Delivery is one pallet short|Invoice names the wrong address|"
    "Firmware update stops at 80 %|Door switch alarms without cause|Login code never arrives|"
    "Display shows °F instead of °C|Pump is louder than specified|Contract number missing on the order|"
    "Wants to return two units"
).split("|")
TASK_SUBJECTS = "Call|Send Letter|Send Quote|Other|Check delivery|Prepare visit|Ask for references".split("|")
EVENT_SUBJECTS = "Meeting|Call|Site visit|Demo|Contract talk|Workshop".split("|")
CAMPAIGN_KIND = "Spring Fair|Webinar|Newsletter|Open House|Partner Day|Trade Show|Customer Survey".split("|")
MILESTONES = "Kick-off|Site survey|Design freeze|Delivery|Installation|Training|Acceptance|Handover".split("|")
WORK_NOTES = "Wiring|Survey on site|Report written|Call with the client|Travel|Rework after test|Documentation".split(
    "|"
)

SENTENCES = [
    "They want the delivery split over two quarters.",
    "The last visit went well; the plant manager asked for references.",
    "Prices were agreed until the end of the year.",
    "A second site may follow next spring.",
    "Please call before ten, the line stops afterwards.",
    "The board decides on the third Thursday of the month.",
    "They still run the old controllers next to ours.",
    "Payment was late twice, though never by more than a week.",
    "Their own engineers did the installation.",
    "Nobody answers the general number, use the mobile.",
]

# What breaks careless code: quotes, commas, line breaks, markup, formulas, other scripts, numbers that are text.
HOSTILE = [
    'He said "call me, maybe", then hung up.',
    "one, two; three\tfour | five",
    "first line\nsecond line\n\nfourth line",
    "windows line\r\nand another",
    "🚀 launch ✨ 家族 👩‍👩‍👧‍👦 café naïve Ω",
    "<b>bold</b> & <a href='https://example.com/?a=1&b=2'>link</a>",
    "=SUM(A1:A9)",
    "00012345",
    "\\N and \\n and %00 and {0} and $1",
    "مرحبا بالعالم — שלום — 你好",
    "'; DROP TABLE Account; --",
    '""',
    "null",
]
HTML = [
    "<p>Scope: <b>two lines</b>, one spare.</p>",
    "<ul><li>Survey</li><li>Delivery &amp; set-up</li></ul>",
    '<p style="color: #333">See <a href="https://example.com/brief?x=1&amp;y=2" target="_blank">the brief</a>.</p>',
    "<p>Zeile eins<br>Zeile zwei</p>",
]
